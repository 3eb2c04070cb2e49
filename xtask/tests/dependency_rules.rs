//! The rules of docs/architecture.md that the compiler does not check: who depends on whom, and what no file may name.
//!
//! The first half reads `cargo metadata` (what is linked into each crate, on every platform, without its tests), the second
//! reads the sources, without comments, which may explain what they like. That time and randomness are arguments is clippy's to
//! say (`clippy.toml`).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, PackageId};

#[test]
fn workspace_crates_depend_on_each_other_only_downwards() {
    let graph = Graph::load();
    // What each may use, and within it what it exists to use.
    let rules: BTreeMap<&str, (&[&str], &[&str])> = BTreeMap::from([
        ("stonechat-wire", (&[] as &[_], &[] as &[_])),
        ("stonechat-api", (&["stonechat-wire"], &["stonechat-wire"])),
        ("stonechat-directory", (&["stonechat-wire"], &["stonechat-wire"])),
        (
            "stonechat-core",
            (&["stonechat-api", "stonechat-directory", "stonechat-wire"], &["stonechat-api", "stonechat-wire"]),
        ),
        ("stonechat-client", (&["stonechat-core", "stonechat-directory", "stonechat-wire"], &["stonechat-core"])),
        ("stonechat-witness", (&["stonechat-directory", "stonechat-wire"], &["stonechat-directory"])),
        // The command `audit` follows a directory from the outside, as a witness does and without a client.
        (
            "stonechat-cli",
            (
                &["stonechat-client", "stonechat-directory", "stonechat-wire", "stonechat-witness"],
                &["stonechat-client", "stonechat-witness"],
            ),
        ),
        ("stonechat-server", (&["stonechat-directory", "stonechat-wire"], &["stonechat-directory", "stonechat-wire"])),
        (
            "stonechat-sim",
            (
                &["stonechat-client", "stonechat-core", "stonechat-directory", "stonechat-server", "stonechat-wire"],
                &["stonechat-core", "stonechat-server"],
            ),
        ),
        // The page takes what a person sees from the api, so that it does not link the client.
        (
            "stonechat-web",
            (&["stonechat-api", "stonechat-client", "stonechat-wire"], &["stonechat-api", "stonechat-client"]),
        ),
        ("stonechat-fuzz", (&["stonechat-core", "stonechat-directory", "stonechat-wire"], &["stonechat-core"])),
        ("xtask", (&[], &[])),
        ("xtask-bundle", (&[], &[])),
    ]);
    let members = graph.members();
    assert_eq!(
        members,
        rules.keys().copied().collect(),
        "a crate without a rule: add it here and in docs/architecture.md"
    );
    for (member, (may, must)) in rules {
        let uses = graph.direct(member).intersection(&members).copied().collect::<BTreeSet<_>>();
        let (may, must) = (BTreeSet::from_iter(may.iter().copied()), BTreeSet::from_iter(must.iter().copied()));
        assert!(uses.is_subset(&may), "{member} may use {may:?} of the workspace and uses {uses:?}");
        assert!(must.is_subset(&uses), "{member} must use {must:?} of the workspace and uses {uses:?}");
    }
}

#[test]
fn every_member_is_compiled_as_ours_and_not_as_a_dependency() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let (_, profile) = manifest.split_once("[profile.dev.package]").expect("Cargo.toml has the profile");
    for member in Graph::load().members() {
        let line = format!("\n{member} = {{ opt-level = 1, debug = \"line-tables-only\" }}\n");
        assert!(profile.contains(&line), "{member} is not in [profile.dev.package] of Cargo.toml");
    }
}

#[test]
fn the_server_links_neither_the_core_nor_an_mls_library() {
    Graph::load().assert_free_of("stonechat-server", |name| name == "stonechat-core" || is_mls(name));
}

#[test]
fn a_witness_links_no_database_no_openssl_no_client_and_no_server() {
    const NAMES: &[&str] =
        &["rusqlite", "libsqlite3-sys", "sqlcipher-src", "openssl", "openssl-sys", "openssl-src", "tokio"];
    let is_ours =
        |name: &str| name.starts_with("stonechat-") && !["stonechat-wire", "stonechat-directory"].contains(&name);
    Graph::load().assert_free_of("stonechat-witness", |name| NAMES.contains(&name) || is_mls(name) || is_ours(name));
}

#[test]
fn the_wire_links_no_mls_library_and_no_runtime() {
    Graph::load().assert_free_of("stonechat-wire", |name| is_mls(name) || is_shell(name));
}

#[test]
fn the_directorys_formats_link_no_mls_library_and_no_runtime() {
    Graph::load().assert_free_of("stonechat-directory", |name| is_mls(name) || is_shell(name));
}

#[test]
fn what_a_person_sees_links_no_mls_library_no_sql_and_no_runtime() {
    Graph::load().assert_free_of("stonechat-api", |name| is_mls(name) || is_shell(name));
}

#[test]
fn the_core_links_no_sockets_no_files_and_no_runtime() {
    Graph::load().assert_free_of("stonechat-core", is_shell);
}

#[test]
fn only_the_core_asks_for_an_mls_library() {
    let graph = Graph::load();
    for member in graph.members() {
        let asked = graph.direct(member).into_iter().filter(|name| is_mls(name)).collect::<Vec<_>>();
        assert!(asked.is_empty() || member == "stonechat-core", "{member} asks for {asked:?}");
    }
}

#[test]
fn no_version_of_openssl_reaches_the_network_crates() {
    let graph = Graph::load();
    for member in graph.members() {
        graph.assert_free_of(member, |name| name == "openssl" || name == "native-tls");
    }
}

#[test]
fn only_the_cores_mls_module_names_the_mls_library() {
    let mls_module = root().join("crates/core/src/mls");
    let elsewhere = |file: &Path| !file.starts_with(&mls_module) && file != mls_module.with_extension("rs");
    assert_unnamed(&sources(&root().join("crates"), elsewhere), &["openmls"]);
}

#[test]
fn what_takes_time_and_randomness_as_arguments_says_so_to_clippy() {
    let pure = [
        "wire/src/lib.rs",
        "api/src/lib.rs",
        "directory/src/lib.rs",
        "core/src/lib.rs",
        "api/src/lib.rs",
        "server/src/services/mod.rs",
        "server/src/directory/mod.rs",
    ];
    for file in pure {
        let source = read(&root().join("crates").join(file));
        assert!(source.contains("\n#![warn(clippy::disallowed_methods, clippy::disallowed_types)]\n"), "{file}");
    }
}

#[test]
fn the_server_names_no_plaintext() {
    assert_unnamed(
        &sources(&root().join("crates/server/src"), |_| true),
        &["plaintext", "Plaintext", "PLAINTEXT", "plain_text"],
    );
}

fn is_mls(name: &str) -> bool {
    name.starts_with("openmls") || name == "mls-rs" || name.starts_with("mls-rs-")
}

/// What only a shell has: runtimes, sockets, files.
fn is_shell(name: &str) -> bool {
    const NAMES: &[&str] = &[
        "tokio",
        "async-std",
        "smol",
        "mio",
        "socket2",
        "hyper",
        "axum",
        "reqwest",
        "tungstenite",
        "rusqlite",
        "libsqlite3-sys",
        "rustls",
    ];
    NAMES.contains(&name)
}

/// What is linked into what: normal dependencies, as resolved, on every platform.
struct Graph(Metadata);

impl Graph {
    fn load() -> Self {
        let metadata = MetadataCommand::new().manifest_path(root().join("Cargo.toml")).exec();
        Self(metadata.expect("`cargo metadata` reads the workspace"))
    }

    fn members(&self) -> BTreeSet<&str> {
        self.0.workspace_packages().iter().map(|package| package.name.as_str()).collect()
    }

    fn name(&self, id: &PackageId) -> &str {
        self.0[id].name.as_str()
    }

    fn links(&self, id: &PackageId) -> Vec<&PackageId> {
        let resolve = self.0.resolve.as_ref().expect("cargo metadata resolves unless told not to");
        let node = resolve.nodes.iter().find(|node| node.id == *id).expect("every package has a node");
        let is_linked =
            |dep: &&cargo_metadata::NodeDep| dep.dep_kinds.iter().any(|kind| kind.kind == DependencyKind::Normal);
        node.deps.iter().filter(is_linked).map(|dep| &dep.pkg).collect()
    }

    fn member(&self, name: &str) -> &PackageId {
        let packages = self.0.workspace_packages();
        &packages.iter().find(|package| package.name.as_str() == name).expect("a member of the workspace").id
    }

    fn direct(&self, member: &str) -> BTreeSet<&str> {
        self.links(self.member(member)).into_iter().map(|id| self.name(id)).collect()
    }

    /// Fails with the shortest way from the member to what it must not link.
    fn assert_free_of(&self, member: &str, forbidden: impl Fn(&str) -> bool) {
        let start = self.member(member);
        let mut reached_from: BTreeMap<&PackageId, &PackageId> = BTreeMap::new();
        let mut front = vec![start];
        while !front.is_empty() {
            let mut next = Vec::new();
            for id in front {
                for dep in self.links(id) {
                    if dep == start || reached_from.contains_key(dep) {
                        continue;
                    }
                    reached_from.insert(dep, id);
                    if forbidden(self.name(dep)) {
                        let way = std::iter::successors(Some(dep), |id| reached_from.get(id).copied())
                            .map(|id| self.name(id));
                        let way = way.collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join(" -> ");
                        panic!("{member} must not link {}: {way}", self.name(dep));
                    }
                    next.push(dep);
                }
            }
            front = next;
        }
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask is in the workspace").to_path_buf()
}

/// The Rust files below a directory that `wanted` takes, except tests, benches and examples.
fn sources(below: &Path, wanted: impl Fn(&Path) -> bool) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut directories = vec![below.to_path_buf()];
    while let Some(directory) = directories.pop() {
        let entries = list(&directory);
        let mut no_code = BTreeSet::from(["tests", "benches", "examples"].map(str::to_owned));
        for file in entries.iter().chain([&directory.with_extension("rs")]).filter(|path| path.is_file()) {
            no_code.extend(test_modules(&read(file)));
        }
        for path in entries {
            let name = path.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            if no_code.contains(&name) {
                continue;
            }
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") && wanted(&path) {
                files.push(path);
            }
        }
    }
    assert!(!files.is_empty(), "no sources below {}", below.display());
    files
}

/// The names of the modules that a source declares for tests only: `#[cfg(test)] mod testing;`.
fn test_modules(source: &str) -> Vec<String> {
    let declared = source.split("#[cfg(test)]").skip(1).filter_map(|tail| {
        let line = tail.trim_start().lines().next()?.strip_suffix(';')?;
        let (_visibility, name) = line.rsplit_once("mod ")?;
        Some(name.to_owned())
    });
    declared.collect()
}

fn list(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let entries = entries.unwrap_or_else(|error| panic!("cannot list {}: {error}", directory.display()));
    entries.iter().map(fs::DirEntry::path).collect()
}

fn read(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_else(|error| panic!("cannot read {}: {error}", file.display()))
}

fn assert_unnamed(files: &[PathBuf], words: &[&str]) {
    let mut found = Vec::new();
    for file in files {
        for (number, line) in read(file).lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//")) {
            for word in words.iter().filter(|word| line.contains(**word)) {
                found.push(format!("{}:{} names {word}: {}", file.display(), number + 1, line.trim()));
            }
        }
    }
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}
