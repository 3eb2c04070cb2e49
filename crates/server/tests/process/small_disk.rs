//! A disk of a few megabytes of its own, in memory: what a program meets when there is no room.
//!
//! The mount is in a namespace of a shell that stays with the test and goes with it, so that no privilege is needed where
//! the system lets its users make namespaces. Programs enter it; the test itself only fills and empties the disk.

#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

/// A small disk that programs can be run on.
pub(crate) struct SmallDisk {
    dir: TempDir,
    holder: Child,
}

impl SmallDisk {
    /// A disk of so many KiB. `None`, after saying why, where the system makes none: then there is nothing to test.
    pub(crate) fn new(kib: u32) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let script = format!("mount -t tmpfs -o size={kib}k,mode=0700 tmpfs \"$0\" && echo mounted && cat");
        let spawned = Command::new("unshare")
            .args(["--user", "--map-root-user", "--mount", "sh", "-c", &script])
            .arg(dir.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let mut holder = match spawned {
            Ok(holder) => holder,
            Err(error) => {
                eprintln!("skipped: no `unshare` on this system ({error}), so there is no small disk to fill");
                return None;
            }
        };
        let mut line = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let disk = Self { dir, holder };
        if line.trim() == "mounted" {
            return Some(disk);
        }
        eprintln!("skipped: this system does not let its users mount, so there is no small disk to fill");
        None
    }

    /// Where the disk is, for the programs that run on it.
    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// `command`, on this disk. It becomes the program: its process id is the program's.
    pub(crate) fn enter(&self, command: &Command) -> Command {
        let mut entered = Command::new("nsenter");
        entered
            .args(["--preserve-credentials", "--user", "--mount", "--target", &self.holder.id().to_string(), "--"])
            .arg(command.get_program())
            .args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => entered.env(name, value),
                None => entered.env_remove(name),
            };
        }
        entered
    }

    /// Writes until no byte fits.
    pub(crate) fn fill(&self) {
        let mut ballast = std::fs::File::create(self.ballast()).unwrap();
        for step in [64 * 1024, 1] {
            let bytes = vec![0; step];
            while ballast.write_all(&bytes).is_ok() {}
        }
    }

    /// Gives back what [`SmallDisk::fill`] took.
    pub(crate) fn free(&self) {
        std::fs::remove_file(self.ballast()).unwrap();
    }

    /// The disk as a process outside sees it.
    fn ballast(&self) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.holder.id()));
        root.join(self.dir.path().strip_prefix("/").unwrap()).join("ballast")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // The mount goes with the last process in its namespace.
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
