//! Looks for many things in many bytes, in every form in which a program might have left them.

use std::collections::BTreeMap;

/// What is looked for. Each is found raw, in hex, in base64 and, if it is text, in UTF-16.
pub(crate) struct Needles {
    /// By the first two bytes: those that may start here. Forms with their names.
    forms: Vec<(Vec<u8>, String)>,
    starts: BTreeMap<[u8; 2], Vec<usize>>,
    may_start: Vec<bool>,
}

impl Needles {
    /// Things with names. A thing has at least 8 bytes, so that it is nowhere by chance.
    pub(crate) fn new<'a>(things: impl IntoIterator<Item = (String, &'a [u8])>) -> Self {
        let mut needles = Self { forms: Vec::new(), starts: BTreeMap::new(), may_start: vec![false; 1 << 16] };
        for (name, bytes) in things {
            assert!(bytes.len() >= 8, "{name} is too short to look for");
            for (form, bytes) in forms(bytes) {
                let start = [bytes[0], bytes[1]];
                needles.starts.entry(start).or_default().push(needles.forms.len());
                needles.may_start[usize::from(u16::from_be_bytes(start))] = true;
                needles.forms.push((bytes, format!("{name} ({form})")));
            }
        }
        needles
    }

    /// The names of what is in there, each once.
    pub(crate) fn found_in(&self, bytes: &[u8]) -> Vec<&str> {
        let mut found = Vec::new();
        for at in 0..bytes.len().saturating_sub(1) {
            let start = [bytes[at], bytes[at + 1]];
            if self.may_start[usize::from(u16::from_be_bytes(start))] {
                let begun = self.starts[&start].iter().map(|form| &self.forms[*form]);
                found.extend(begun.filter(|(form, _)| bytes[at..].starts_with(form)).map(|(_, name)| name.as_str()));
            }
        }
        found.sort_unstable();
        found.dedup();
        found
    }
}

fn forms(bytes: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut forms = vec![
        ("as it is", bytes.to_vec()),
        ("hex", hex.clone().into_bytes()),
        ("HEX", hex.to_uppercase().into_bytes()),
        // What `{:?}` makes of bytes.
        ("a list of numbers", bytes.iter().map(u8::to_string).collect::<Vec<_>>().join(", ").into_bytes()),
    ];
    // In base64 a thing looks in three ways, by where it begins; what mixes with its neighbours is left out.
    for before in 0..3 {
        let mut shifted = vec![0; before];
        shifted.extend(bytes);
        let text: Vec<u8> = shifted.chunks_exact(3).flat_map(base64).skip(if before == 0 { 0 } else { 4 }).collect();
        let url = text.iter().map(|c| URL_SAFE.iter().find(|(from, _)| from == c).map_or(*c, |(_, to)| *to)).collect();
        if text != url {
            forms.push(("base64url", url));
        }
        forms.push(("base64", text));
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        forms.push(("UTF-16LE", text.encode_utf16().flat_map(u16::to_le_bytes).collect()));
        forms.push(("UTF-16BE", text.encode_utf16().flat_map(u16::to_be_bytes).collect()));
    }
    forms
}

/// How base64url writes what base64 writes with characters that mean something in an address.
const URL_SAFE: [(u8, u8); 2] = [(b'+', b'-'), (b'/', b'_')];

fn base64(three: &[u8]) -> [u8; 4] {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bits = three.iter().fold(0, |bits, byte| bits << 8 | usize::from(*byte));
    [18, 12, 6, 0].map(|shift| ALPHABET[bits >> shift & 63])
}
