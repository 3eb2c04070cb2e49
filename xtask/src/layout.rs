//! Where things lie: the checkout, the target directory, the programs in it.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::tools;

/// The checkout and its build.
pub(crate) struct Layout {
    /// The directory of the workspace's `Cargo.toml`.
    pub(crate) root: PathBuf,
    /// Cargo's target directory, wherever `CARGO_TARGET_DIR` or a config put it.
    pub(crate) target: PathBuf,
    /// This program. A build may replace the file while we run, so the path is taken at the start.
    pub(crate) xtask: PathBuf,
    /// Whether the programs of the dev profile are taken as they are, because somebody has just built the whole workspace.
    pub(crate) built: bool,
}

impl Layout {
    pub(crate) fn find() -> Result<Self> {
        // Cargo names the manifest when it runs us; started by hand, we are where we were built.
        let manifest = env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
        let root = Path::new(&manifest).parent().map(Path::to_path_buf).unwrap_or_default();
        if !root.join("Cargo.toml").is_file() {
            bail!("the checkout is not at {} any more; run `cargo xtask` inside it", root.display());
        }
        let xtask = env::current_exe().context("cannot tell where this program is")?;
        let target = (xtask.parent().and_then(Path::parent))
            .context("this program is not in a target directory; run it as `cargo xtask`")?
            .to_path_buf();
        Ok(Self { root, target, xtask, built: false })
    }

    /// A program of the dev profile: `stonechatd`, `examples/echo`.
    pub(crate) fn program(&self, name: &str) -> Result<PathBuf> {
        let path = self.target.join("debug").join(name);
        if !path.is_file() {
            bail!(
                "{} is missing, although the build succeeded.\nIf a Cargo config or CARGO_PROFILE_* moves the build, unset it and try again.",
                show(&path)
            );
        }
        Ok(path)
    }

    /// Cargo, at the root of the checkout.
    pub(crate) fn cargo<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.args(args).current_dir(&self.root);
        // What Cargo told us about ourselves is not true of what we start.
        for (name, _) in env::vars_os() {
            let is_ours = name.to_str().is_some_and(|name| {
                name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") || name == "CARGO_PRIMARY_PACKAGE"
            });
            if is_ours {
                command.env_remove(name);
            }
        }
        if !tools::has_openssl() {
            command.env(tools::SYSTEM_OPENSSL, "0");
        }
        command
    }

    /// The same for programs that people get: they bring their own OpenSSL.
    pub(crate) fn cargo_release<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = self.cargo(args);
        command.env(tools::SYSTEM_OPENSSL, "0");
        command
    }
}

/// A path as a person would type it: relative to where they stand, when it is below.
pub(crate) fn show(path: &Path) -> String {
    let here = env::current_dir().unwrap_or_default();
    let short = path.strip_prefix(&here).unwrap_or(path).to_string_lossy().into_owned();
    if short.is_empty() { ".".to_owned() } else { quote(&short) }
}

/// A command line that can be pasted into a shell.
pub(crate) fn command_line(command: &Command) -> String {
    // Rustup's proxy gives us the path of the real Cargo, which nobody types.
    let program = Path::new(command.get_program());
    let program = if program.file_name().is_some_and(|name| name == "cargo") { Path::new("cargo") } else { program };
    let words = std::iter::once(program).chain(command.get_args().map(Path::new));
    words.map(show).collect::<Vec<_>>().join(" ")
}

fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@,+%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_lines_can_be_pasted() {
        let mut command = Command::new(env::current_dir().unwrap().join("target/debug/stonechat"));
        command.args(["--home", "a directory", "send", "@echo", "it's"]);
        assert_eq!(command_line(&command), r"target/debug/stonechat --home 'a directory' send @echo 'it'\''s'");
    }

    #[test]
    fn empty_words_are_quoted() {
        assert_eq!(quote(""), "''");
    }
}
