//! The programs that the demo and the browser's tests run: `stonechatd` with the web app in it, `stonechat-witness`,
//! `stonechat`, the contact `echo`.
//!
//! Each package is compiled once, and only what runs: Cargo compiles a dependency with the features that the *selected* packages
//! ask for together, so all of it is built from one selection. The web app comes between: the server is built around it.

use crate::commands::run;
use crate::layout::Layout;
use crate::web;

/// The packages behind the programs. Selecting others would compile many dependencies again, with other features.
const SELECTION: [&str; 11] = [
    "build",
    "--package",
    "stonechat-server",
    "--package",
    "stonechat-witness",
    "--package",
    "stonechat-cli",
    "--package",
    "stonechat-client",
    "--package",
    "xtask-bundle",
];
/// An example brings the features of dev-dependencies along, so that it is a part of every build of these.
const ECHO: [&str; 2] = ["--example", "echo"];

/// How many times [`build`] calls `step`.
pub(crate) const fn steps(with_web: bool) -> u32 {
    if with_web { 3 } else { 1 }
}

/// Builds them in the dev profile; says what begins through `step`.
pub(crate) fn build(layout: &Layout, with_web: bool, step: &mut dyn FnMut(&str)) -> anyhow::Result<()> {
    if !with_web {
        step("compiling the server, a witness, the terminal client and a contact that answers");
        return compile(layout, &["--bin", "stonechatd", "--bin", "stonechat-witness", "--bin", "stonechat"], false);
    }
    step("compiling a witness, the terminal client and a contact that answers");
    compile(layout, &["--bin", "stonechat", "--bin", "stonechat-witness", "--bin", "xtask-bundle"], false)?;
    step("compiling the web app for the browser");
    web::build(layout, web::Build::Quick)?;
    step("compiling the server around the web app");
    compile(layout, &["--bin", "stonechatd"], true)
}

fn compile(layout: &Layout, programs: &[&str], around_web: bool) -> anyhow::Result<()> {
    let mut cargo = layout.cargo(SELECTION);
    cargo.args(programs).args(ECHO);
    if around_web {
        cargo.env(web::FOLDER_VARIABLE, web::Build::Quick.folder(layout));
    }
    run(&mut cargo, "The compiler's message above says what is wrong; then run this again.")
}

/// Builds what packs the web app, and nothing else, unless it is there.
pub(crate) fn packer(layout: &Layout) -> anyhow::Result<std::path::PathBuf> {
    if !layout.built {
        let mut cargo = layout.cargo(SELECTION);
        run(cargo.args(["--bin", "xtask-bundle"]), "The compiler's message above says what is wrong.")?;
    }
    layout.program("xtask-bundle")
}
