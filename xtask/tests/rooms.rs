//! The rooms of `crates/core/src`, and which room may name which: one table, and a test that fails on anything else.
//!
//! A room is a folder or a file directly below `src`. It may name the rooms of its row, which all stand above it in the table: so
//! the table is also the order to read them in, and no two rooms can know each other. Only `lib.rs` names them all. What a room has
//! for one below it in the table, it leaves in `step::Mail`.
//!
//! The sources are read as tokens: comments and documents may mention whatever they like. Tests may use whatever they need.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{TokenStream, TokenTree};

/// Each room, and the rooms that it may name.
const ROOMS: &[(&str, &[&str])] = &[
    ("limits", &[]),
    ("store", &[]),
    ("crypto", &[]),
    ("api", &["store"]),
    ("content", &["limits", "crypto", "api"]),
    ("error", &["store", "api"]),
    ("mls", &["store", "crypto", "error"]),
    ("identity", &["store", "crypto", "api", "error", "mls"]),
    ("links", &["limits", "api"]),
    ("step", &["store", "crypto", "content", "api", "identity", "links"]),
    ("session", &["store", "api", "error", "identity", "links", "step"]),
    ("supplies", &["limits", "store", "crypto", "api", "error", "mls", "links", "step", "session"]),
    ("blobs", &["store", "crypto", "api", "error", "links", "step", "supplies"]),
    ("people", &["store", "crypto", "content", "api", "error", "identity", "links", "step"]),
    ("post", &["limits", "store", "crypto", "api", "error", "links", "step", "supplies", "blobs", "people"]),
    (
        "log",
        &[
            "limits", "store", "crypto", "content", "api", "error", "mls", "identity", "links", "step", "supplies",
            "blobs", "people", "post",
        ],
    ),
    ("talk", &["limits", "store", "content", "api", "error", "step", "people", "log"]),
    ("view", &["limits", "store", "content", "api", "identity", "people", "log", "talk"]),
    ("commands", &["limits", "store", "content", "api", "error", "step", "blobs", "people", "log", "talk"]),
];

/// `lib.rs` sees all rooms, and what the tests share is none.
const SKIPPED: &[&str] = &["lib", "testing"];

/// A file that is longer says in its module doc why, after these words.
const LINES_MAX: usize = 600;
const LONG_BECAUSE: &str = "//! Long because ";

#[test]
fn a_room_names_only_the_rooms_of_its_row() {
    let table: BTreeMap<&str, &[&str]> = ROOMS.iter().copied().collect();
    let mut wrong = Vec::new();
    for (room, file) in files() {
        let Some(may) = table.get(room.as_str()) else {
            wrong.push(format!("{}: a room without a row in the table of xtask/tests/rooms.rs", file.display()));
            continue;
        };
        if file.ends_with("tests.rs") || file.ends_with("interop.rs") {
            continue;
        }
        for named in named_rooms(&read(&file), depth(&file)) {
            if named != room && !may.contains(&named.as_str()) {
                wrong.push(format!("{}: `{room}` may not name `{named}`", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn the_table_names_only_what_stands_above_and_what_is_used() {
    let mut above = BTreeSet::new();
    let mut named: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (room, file) in files() {
        named.entry(room).or_default().extend(named_rooms(&read(&file), depth(&file)));
    }
    for (room, may) in ROOMS {
        for other in *may {
            assert!(above.contains(other), "`{room}` may name `{other}`, which does not stand above it");
            let used = named.get(*room).is_some_and(|named| named.contains(*other));
            assert!(used, "`{room}` does not name `{other}` any more: take it out of its row");
        }
        assert!(above.insert(*room), "`{room}` has two rows");
        assert!(named.contains_key(*room), "there is no room `{room}` any more");
    }
}

#[test]
fn a_room_says_what_it_owns_and_a_long_file_says_why() {
    for (room, file) in files() {
        let source = read(&file);
        assert!(
            source.starts_with("//! ") || file.ends_with("tests.rs"),
            "{} of `{room}` has no module doc",
            file.display()
        );
        let lines = source.lines().count();
        let reason = source.lines().any(|line| line.starts_with(LONG_BECAUSE));
        assert!(
            lines <= LINES_MAX || reason,
            "{} has {lines} lines and does not say `{LONG_BECAUSE}…`",
            file.display()
        );
    }
}

#[test]
fn every_way_to_name_a_room_is_noticed() {
    let named = |source: &str, depth| named_rooms(source, depth).into_iter().collect::<Vec<_>>();
    assert_eq!(named("use crate::{log::{rows::Info, join}, store}; // crate::view", 1), ["log", "store"]);
    assert_eq!(named("fn f() { crate::talk::send::send(); vec![crate::blobs::keep()] }", 2), ["blobs", "talk"]);
    // In a file of its own, `super` is the crate's root; in a folder it is the room.
    assert_eq!(named("use super::people::{accounts, belief};", 1), ["people"]);
    assert_eq!(named("use super::people; use super::super::view::trust;", 2), ["view"]);
    // What stands in `lib.rs` is for other crates.
    assert_eq!(named("use crate::CoreError;", 1), ["CoreError"]);
    assert_eq!(named("/// See [`crate::log`].\nconst TEXT: &str = \"crate::view\";", 1), Vec::<String>::new());
    assert_eq!(named("#[cfg(test)]\nmod tests { use crate::view; }\nuse crate::log;", 1), ["log"]);
}

/// The first names behind `crate::`, or behind the `super`s that lead there.
fn named_rooms(source: &str, depth: usize) -> BTreeSet<String> {
    let tokens: TokenStream = source.parse().expect("the sources are Rust");
    let mut found = BTreeSet::new();
    scan(tokens, depth, &mut found);
    found
}

fn scan(tokens: TokenStream, depth: usize, found: &mut BTreeSet<String>) {
    let tokens: Vec<_> = tokens.into_iter().collect();
    let is_path = |at: usize| {
        matches!((tokens.get(at), tokens.get(at + 1)), (Some(TokenTree::Punct(a)), Some(TokenTree::Punct(b)))
            if a.as_char() == ':' && b.as_char() == ':')
    };
    let word = |at: usize| match tokens.get(at) {
        Some(TokenTree::Ident(word)) => Some(word.to_string()),
        _ => None,
    };
    let mut at = 0;
    while at < tokens.len() {
        let behind_path = at >= 2 && is_path(at - 2);
        let mut supers = 0;
        while word(at + 3 * supers).as_deref() == Some("super") && is_path(at + 3 * supers + 1) {
            supers += 1;
        }
        let root = match word(at).as_deref() {
            Some("crate") if is_path(at + 1) => Some(at + 3),
            Some("super") if supers == depth && !behind_path => Some(at + 3 * supers),
            _ => None,
        };
        match root.and_then(|at| tokens.get(at)) {
            Some(TokenTree::Ident(room)) => {
                found.insert(room.to_string());
            }
            Some(TokenTree::Group(group)) => found.extend(first_names(group.stream())),
            _ => {}
        }
        let is_tests = at >= 2 && word(at - 2).as_deref() == Some("mod") && word(at - 1).as_deref() == Some("tests");
        if let TokenTree::Group(group) = &tokens[at]
            && !is_tests
        {
            scan(group.stream(), depth, found);
        }
        at += 1;
    }
}

/// The first name of each path in the braces of a `use`.
fn first_names(tokens: TokenStream) -> Vec<String> {
    let mut names = Vec::new();
    let mut first = true;
    for token in tokens {
        match token {
            TokenTree::Ident(name) if first => {
                names.push(name.to_string());
                first = false;
            }
            TokenTree::Punct(comma) if comma.as_char() == ',' => first = true,
            _ => {}
        }
    }
    names
}

/// Every file of every room, with its room.
fn files() -> Vec<(String, PathBuf)> {
    let mut files = Vec::new();
    let mut directories = vec![src()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).expect("the core's sources are there") {
            let path = entry.expect("a directory can be listed").path();
            let below = path.strip_prefix(src()).expect("below src");
            let room =
                below.components().next().expect("not src itself").as_os_str().to_string_lossy().replace(".rs", "");
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") && !SKIPPED.contains(&room.as_str()) {
                files.push((room, path));
            }
        }
    }
    files.sort();
    assert!(files.len() > ROOMS.len(), "the sources of the core were not found");
    files
}

/// How many `super`s lead from a file's module to the crate's root.
fn depth(file: &Path) -> usize {
    let below = file.strip_prefix(src()).expect("below src");
    let folders = below.components().count() - 1;
    if file.ends_with("mod.rs") { folders } else { folders + 1 }
}

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask is in the workspace").join("crates/core/src")
}

fn read(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_else(|error| panic!("cannot read {}: {error}", file.display()))
}
