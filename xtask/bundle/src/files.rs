//! Files under names that tell their content, the references between them, and the folder that they end in.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use brotli::enc::BrotliEncoderParams;
use sha2::{Digest as _, Sha256, Sha384};

/// How a file is referred to once it has its final name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    /// From the root of the site: `/page-0123456789abcdef.wasm`.
    pub(crate) path: String,
    /// As the attribute wants it: `sha384-…`.
    pub(crate) integrity: String,
}

/// Files that are being named. Those that name others wait until the others have theirs.
pub(crate) struct Folder {
    done: BTreeMap<String, Vec<u8>>,
    names: BTreeMap<String, Named>,
    waiting: BTreeMap<String, String>,
}

/// The files as they will be served, by their final names.
pub(crate) struct Files(BTreeMap<String, Vec<u8>>);

impl Folder {
    /// Reads the static files. They lie flat in one folder.
    pub(crate) fn read(dir: &Path) -> Result<Self> {
        let mut folder = Self { done: BTreeMap::new(), names: BTreeMap::new(), waiting: BTreeMap::new() };
        let entries =
            fs::read_dir(dir).with_context(|| format!("cannot read the static files in {}", dir.display()))?;
        for entry in entries {
            let path = entry?.path();
            let Some(name) = path.file_name().and_then(|name| name.to_str()).filter(|name| !name.starts_with('.'))
            else {
                continue;
            };
            ensure!(path.is_file(), "{} is not a file; static files lie flat in their folder", path.display());
            let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
            if NAMING.iter().any(|extension| name.ends_with(extension)) {
                let text = String::from_utf8(bytes).with_context(|| format!("{} is not UTF-8", path.display()))?;
                folder.waiting.insert(name.to_owned(), text);
            } else {
                folder.add(name, bytes);
            }
        }
        Ok(folder)
    }

    /// Adds a file that names no other.
    pub(crate) fn add(&mut self, name: &str, bytes: Vec<u8>) -> Named {
        let hash = hex::encode(&Sha256::digest(&bytes)[..NAME_HASH_BYTES]);
        let (stem, extension) = name.rsplit_once('.').unwrap_or((name, ""));
        let final_name = format!("{stem}-{hash}.{extension}");
        let integrity = format!("sha384-{}", BASE64.encode(Sha384::digest(&bytes)));
        let named = Named { path: format!("/{final_name}"), integrity };
        self.done.insert(final_name, bytes);
        self.names.insert(name.to_owned(), named.clone());
        named
    }

    /// Names the files that name others, `index.html` last: it alone keeps its name.
    pub(crate) fn finish(mut self) -> Result<Files> {
        for extension in NAMING {
            for (name, text) in std::mem::take(&mut self.waiting) {
                if !name.ends_with(extension) {
                    self.waiting.insert(name, text);
                    continue;
                }
                let text = self.resolve(&text).with_context(|| format!("in {name}"))?;
                if name == INDEX {
                    self.done.insert(name, text.into_bytes());
                } else {
                    self.add(&name, text.into_bytes());
                }
            }
        }
        ensure!(self.done.contains_key(INDEX), "there is no {INDEX} among the static files");
        let offline = self.offline();
        self.done.insert(OFFLINE.to_owned(), offline.into_bytes());
        Ok(Files(self.done))
    }

    /// The script that keeps all of these files. A browser takes another script for another version.
    fn offline(&self) -> String {
        let mut version = Sha256::new();
        let mut list = String::new();
        for (name, bytes) in &self.done {
            let path = if name == INDEX { "" } else { name };
            list.push_str(&format!("\n  \"/{path}\","));
            version.update(Sha256::digest(name.as_bytes()));
            version.update(Sha256::digest(bytes));
        }
        let version = hex::encode(&version.finalize()[..NAME_HASH_BYTES]);
        include_str!("offline.js").replace("VERSION_HERE", &version).replace("FILES_HERE", &format!("[{list}\n]"))
    }

    /// Puts final names in the place of `"/name"` and `url(/name)`, and an `integrity` beside what a browser can check.
    fn resolve(&self, text: &str) -> Result<String> {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find(['"', '\'', '(']) {
            let (before, tail) = rest.split_at(at + 1);
            out.push_str(before);
            rest = tail;
            let Some(name) = tail.strip_prefix('/').and_then(|tail| tail.split(['"', '\'', ')', '#', '?']).next())
            else {
                continue;
            };
            let is_file = name.contains('.') && !name.contains(['/', ' ', '<', '\n']);
            if !is_file || name == INDEX {
                continue;
            }
            let Some(Named { path, integrity }) = self.names.get(name) else {
                bail!("it names /{name}, which is not among the files");
            };
            out.push_str(path);
            rest = &tail[1 + name.len()..];
            let is_attribute = before.ends_with("href=\"") || before.ends_with("src=\"");
            if is_attribute && CHECKED.iter().any(|extension| name.ends_with(extension)) {
                rest = rest.strip_prefix('"').with_context(|| format!("/{name} is not all of its attribute"))?;
                out.push_str(&format!("\" integrity=\"{integrity}\""));
            }
        }
        out.push_str(rest);
        Ok(out)
    }
}

impl Files {
    /// Writes the folder and removes what is no longer in it. Returns each file's name, size and compressed size.
    pub(crate) fn write(&self, dir: &Path, quality: i32) -> Result<Vec<(String, usize, usize)>> {
        fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let mut kept = BTreeSet::new();
        let mut sizes = Vec::new();
        for (name, bytes) in &self.0 {
            let packed = compressed(bytes, quality)?;
            let is_smaller = packed.len() < bytes.len();
            write_if_new(&dir.join(name), bytes)?;
            kept.insert(name.clone());
            if is_smaller {
                let name = format!("{name}.br");
                write_if_new(&dir.join(&name), &packed)?;
                kept.insert(name);
            }
            sizes.push((name.clone(), bytes.len(), if is_smaller { packed.len() } else { bytes.len() }));
        }
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            if !entry.file_name().to_str().is_some_and(|name| kept.contains(name)) {
                fs::remove_file(entry.path()).with_context(|| format!("cannot remove {}", entry.path().display()))?;
            }
        }
        Ok(sizes)
    }
}

fn compressed(bytes: &[u8], quality: i32) -> Result<Vec<u8>> {
    let params = BrotliEncoderParams { quality, lgwin: 22, size_hint: bytes.len(), ..BrotliEncoderParams::default() };
    let mut packed = Vec::new();
    brotli::BrotliCompress(&mut &bytes[..], &mut packed, &params).context("brotli cannot compress")?;
    Ok(packed)
}

fn write_if_new(path: &Path, bytes: &[u8]) -> Result<()> {
    if fs::read(path).is_ok_and(|there| there == bytes) {
        return Ok(());
    }
    fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}

/// Kept as it is, because people and links come to it.
const INDEX: &str = "index.html";
/// Keeps the files for when there is no server. Browsers ask for it by this name, to see whether there is a new version.
pub(crate) const OFFLINE: &str = "offline.js";
/// Files that name others, in the order in which they can be finished.
const NAMING: &[&str] = &[".svg", ".css", ".webmanifest", ".html"];
/// What a browser checks against `integrity` when it stands beside the address. A program is checked by the script that fetches it;
/// browsers do not check one that is only preloaded.
const CHECKED: &[&str] = &[".css", ".js"];
/// 64 bits: names do not collide by chance, and an attacker who could make them collide still meets `integrity`.
const NAME_HASH_BYTES: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn statics(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(dir.path().join(name), text).unwrap();
        }
        dir
    }

    #[test]
    fn references_follow_the_names_and_carry_hashes() {
        let html = r#"<link rel="stylesheet" href="/style.css"><a href="/">home</a><script type="module" src="/page.js"></script>"#;
        let dir =
            statics(&[("index.html", html), ("style.css", "a { mask: url(/bird.svg#m) }"), ("bird.svg", "<svg/>")]);
        let mut folder = Folder::read(dir.path()).unwrap();
        folder.add("page.js", b"start".to_vec());
        let files = folder.finish().unwrap().0;
        let name = |stem: &str| files.keys().find(|name| name.starts_with(stem)).unwrap().clone();
        let css = String::from_utf8(files[&name("style-")].clone()).unwrap();
        assert_eq!(css, format!("a {{ mask: url(/{}#m) }}", name("bird-")));
        let html = String::from_utf8(files["index.html"].clone()).unwrap();
        let integrity = BASE64.encode(Sha384::digest(b"start"));
        assert!(html.contains(&format!("src=\"/{}\" integrity=\"sha384-{integrity}\"", name("page-"))), "{html}");
        assert!(html.contains(&format!("href=\"/{}\" integrity=\"sha384-", name("style-"))), "{html}");
        assert!(html.contains("<a href=\"/\">home</a>"), "{html}");
        let offline = String::from_utf8(files[OFFLINE].clone()).unwrap();
        assert!(
            offline.contains("\n  \"/\",") && offline.contains(&format!("\n  \"/{}\",", name("page-"))),
            "{offline}"
        );
        assert!(!offline.contains("_HERE") && !offline.contains(INDEX), "{offline}");
    }

    #[test]
    fn a_reference_to_nothing_is_refused() {
        let dir = statics(&[("index.html", "<img src=\"/none.png\">")]);
        let error = Folder::read(dir.path()).unwrap().finish().err().unwrap();
        assert!(format!("{error:#}").contains("/none.png"), "{error:#}");
    }

    #[test]
    fn another_content_is_another_name() {
        let mut folder = Folder::read(statics(&[]).path()).unwrap();
        assert_ne!(folder.add("a.js", b"1".to_vec()).path, folder.add("a.js", b"2".to_vec()).path);
    }

    #[test]
    fn the_folder_holds_what_was_made_and_nothing_else() {
        let out = tempfile::tempdir().unwrap();
        fs::write(out.path().join("old-1.js"), "old").unwrap();
        let text = "text ".repeat(100);
        let files =
            Files(BTreeMap::from([("a.js".to_owned(), text.clone().into_bytes()), ("b.png".to_owned(), vec![7])]));
        let sizes = files.write(out.path(), 11).unwrap();
        let mut there = fs::read_dir(out.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>();
        there.sort();
        assert_eq!(there, ["a.js", "a.js.br", "b.png"]);
        assert_eq!((sizes[0].1, sizes[1].1, sizes[1].2), (500, 1, 1));
        let packed = fs::read(out.path().join("a.js.br")).unwrap();
        assert_eq!(packed.len(), sizes[0].2);
        let mut unpacked = Vec::new();
        brotli::BrotliDecompress(&mut &packed[..], &mut unpacked).unwrap();
        assert_eq!(unpacked, text.as_bytes());
    }
}
