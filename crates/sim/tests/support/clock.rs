//! Programs whose clock is wrong.
#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

use std::process::Command;

use tempfile::TempDir;

use crate::support::Environment;

/// A library that is loaded before the C library and shifts the time of day; other clocks go on as they are.
pub(crate) struct Clock(TempDir);

const SOURCE: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>

int clock_gettime(clockid_t clock, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(clock, now);
    const char *ahead = getenv("STONECHAT_TEST_CLOCK_AHEAD");
    if (clock == CLOCK_REALTIME && ahead) now->tv_sec += atol(ahead);
    return result;
}
"#;

impl Clock {
    /// Builds it, with the C compiler that building this workspace needs anyway.
    pub(crate) fn build() -> Self {
        let dir = TempDir::new().unwrap();
        let source = dir.path().join("clock.c");
        std::fs::write(&source, SOURCE).unwrap();
        let mut compile = Command::new(std::env::var_os("CC").unwrap_or_else(|| "cc".into()));
        compile.args(["-shared", "-fPIC", "-o"]).arg(dir.path().join("clock.so")).arg(source).arg("-ldl");
        assert!(compile.status().expect("a C compiler").success(), "the clock builds");
        Self(dir)
    }

    /// What a program has in its environment whose clock is this many seconds ahead, or behind.
    pub(crate) fn ahead(&self, secs: i64) -> Environment {
        let library = self.0.path().join("clock.so").into_os_string();
        vec![("LD_PRELOAD", library), ("STONECHAT_TEST_CLOCK_AHEAD", secs.to_string().into())]
    }
}
