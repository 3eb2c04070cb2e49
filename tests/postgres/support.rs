//! A real PostgreSQL for a test: an empty schema of a server that the tests share. Where there is none, the test fails and
//! says what to install.

use std::fs::File;
use std::path::Path;
use std::process::Command;

/// An empty schema, there for as long as this lives.
pub(crate) struct Postgres {
    /// How to connect.
    pub(crate) url: String,
    _in_use: File,
}

/// A schema of the server that tests share, or of one by a name of its own, for tests that change its settings or kill it.
pub(crate) fn postgres(own: Option<&str>) -> Postgres {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/postgres/start");
    let output = Command::new(script).args(own).output().expect("the script starts");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let (url, file) = said.trim_end().split_once('\n').expect("two lines");
    let in_use = File::open(file).expect("the file is there");
    in_use.lock_shared().expect("a lock");
    Postgres { url: url.to_owned(), _in_use: in_use }
}
