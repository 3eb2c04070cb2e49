//! Makes the folder that `stonechatd` serves: the web app's two wasm programs as modules that start themselves, and its static
//! files, under names that tell their content.
//!
//! `cargo xtask web` runs it after Cargo has built the programs. It is a program of its own because what reads and writes
//! wasm takes a minute to compile, and the other commands need none of it.
//!
//! | in | out |
//! |---|---|
//! | `--page page.wasm` | `page-<hash>.wasm`, and `page-<hash>.js` that fetches it with its hash and starts it |
//! | `--worker worker.wasm` | the same with `worker` |
//! | `--static DIR`: pictures, `style.css`, … | each with its hash in its name, and the names in it made to match |
//! | `--static DIR`: `index.html` | `index.html`, with the names and an `integrity` for each script, style and program |
//! | | `offline.js`, which keeps all of these in the browser for when there is no server |
//!
//! Beside each file that gets smaller by it lies `<name>.br`. What is in the folder depends on the input alone; a file that is
//! right already is not touched, so that nothing is rebuilt for nothing.

mod files;
mod program;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

use files::Folder;
use program::Program;

#[derive(Parser)]
struct Args {
    /// The page's program.
    #[arg(long)]
    page: PathBuf,
    /// The worker's program.
    #[arg(long)]
    worker: PathBuf,
    /// The static files, `index.html` among them.
    #[arg(long = "static")]
    static_files: PathBuf,
    /// The folder to make.
    #[arg(long)]
    out: PathBuf,
    /// Make it quickly instead of small: function names kept, light compression.
    #[arg(long)]
    quick: bool,
}

fn main() -> ExitCode {
    match bundle(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn bundle(args: &Args) -> Result<()> {
    let mut folder = Folder::read(&args.static_files)?;
    let Program { wasm, script } = Program::bind("page", &args.page, !args.quick)?;
    let wasm = folder.add("page.wasm", wasm);
    folder.add("page.js", script.starting_page(&wasm).into_bytes());
    let Program { wasm, script } = Program::bind("worker", &args.worker, !args.quick)?;
    let wasm = folder.add("worker.wasm", wasm);
    folder.add("worker.js", script.starting(&wasm).into_bytes());
    let files = folder.finish()?;
    let sizes = files.write(&args.out, if args.quick { 5 } else { 11 })?;
    println!("{:<34} {:>9} {:>9}", "file", "bytes", "brotli");
    let mut total = (0, 0);
    for (name, plain, packed) in &sizes {
        println!("{name:<34} {plain:>9} {packed:>9}");
        total = (total.0 + plain, total.1 + packed);
    }
    println!("{:<34} {:>9} {:>9}", "all", total.0, total.1);
    Ok(())
}
