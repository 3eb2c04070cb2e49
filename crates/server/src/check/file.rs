//! The file itself: its TOML, keys that there are not, values of the wrong kind. `serve` stops at the first of these; here
//! each is found, because every key is tried by itself among values that are known to fit.

use serde::Deserialize as _;
use toml::de::DeTable;
use toml::{Table, Value};

use super::Report;
use crate::config::{Config, every_key};

/// Reads what can be read of a file; what cannot is at its default, and reported.
pub(super) fn read(text: &str, report: &mut Report) -> Config {
    let (parsed, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let line = error.span().map_or(0, |span| line_of(text, span.start));
        report.problem(format!("line {line}"), format!("this is not TOML: {}.", error.message()));
    }
    let known: Table = toml::from_str(&every_key()).expect("a test parses it");
    let lines = Lines::of(text, parsed.get_ref());
    let mut table = Table::deserialize(toml::Deserializer::from(parsed)).unwrap_or_default();
    table.retain(|key, value| match (known.get(key), value) {
        (Some(Value::Table(known)), Value::Table(section)) => {
            section.retain(|inner, _| known.contains_key(inner) || lines.unknown(report, Some(key), inner, known));
            true
        }
        (known_value, _) => known_value.is_some() || lines.unknown(report, None, key, &known),
    });
    let keys: Vec<String> = table.keys().cloned().collect();
    for key in keys {
        let alone = Table::from_iter([(key.clone(), table[&key].clone())]);
        let Err(error) = Config::deserialize(alone) else { continue };
        let before = report.findings.len();
        match &mut table[&key] {
            Value::Table(section) => {
                section.retain(|inner, value| lines.fits(report, &known, Some(&key), inner, value));
            }
            value => drop(lines.fits(report, &known, None, &key, value)),
        }
        let rest = Table::from_iter([(key.clone(), table[&key].clone())]);
        if report.findings.len() == before {
            // Each value fits; together they do not: one is missing.
            report.problem(lines.place(None, &key), format!("{}.", error.message()));
        }
        if Config::deserialize(rest).is_err() {
            table.remove(&key);
        }
    }
    Config::deserialize(table).unwrap_or_default()
}

/// What a file may say, and still should not.
pub(super) fn judge(config: &Config, report: &mut Report) {
    if let Some(host) = &config.public_host {
        let plain =
            host.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-:[]".contains(&byte));
        if !plain || host.is_empty() {
            let why = "it is the host that clients dial, in lower case, with a port when it is not the usual one: no \
                       https:// before it, and no / behind it. As it is, every log-in fails.";
            report.problem("public_host", why);
        } else if host.ends_with(":443") {
            report
                .problem("public_host", "leave :443 away. Clients do not name the usual port, so every log-in fails.");
        }
    }
    if config.tls.is_none() && !config.listen.ip().is_loopback() {
        let why = format!(
            "{} can be reached from other machines, and there is no [tls]: passwords are not sent, but who talks when is \
             readable on the way, and browsers refuse the web app. Use [tls], or listen on 127.0.0.1 behind a proxy.",
            config.listen
        );
        report.warning("listen", why);
    }
    let directory = &config.directory;
    if directory.threshold == 0 {
        let why = "no witness is needed, so clients believe the server's signature alone, and their locks stay open. \
                   Clients pin this when they sign up: find witnesses before the first account.";
        report.warning("directory.threshold", why);
    } else if directory.threshold as usize == directory.witnesses.len() {
        let why = "every witness is needed. When one is down, nobody finds new contacts. Have more than are needed.";
        report.warning("directory.threshold", why);
    }
    for (index, witness) in directory.witnesses.iter().enumerate() {
        if directory.witnesses[..index].contains(witness) {
            report.problem("directory.witnesses", format!("{} stands there twice.", witness.name()));
        }
    }
}

/// On which line each key stands.
struct Lines(Vec<(Option<String>, String, usize)>);

impl Lines {
    fn of(text: &str, table: &DeTable<'_>) -> Self {
        let mut lines = Vec::new();
        for (key, value) in table {
            let name = key.get_ref().to_string();
            if let Some(section) = value.get_ref().as_table() {
                for inner in section.keys() {
                    let line = line_of(text, inner.span().start);
                    lines.push((Some(name.clone()), inner.get_ref().to_string(), line));
                }
            }
            lines.push((None, name, line_of(text, key.span().start)));
        }
        Self(lines)
    }

    /// A key as a person finds it.
    fn place(&self, section: Option<&str>, key: &str) -> String {
        let found = self.0.iter().find(|(its, name, _)| its.as_deref() == section && name == key);
        let name = section.map_or_else(|| key.to_owned(), |section| format!("{section}.{key}"));
        found.map_or_else(|| name.clone(), |(.., line)| format!("{name} (line {line})"))
    }

    /// Reports a key that there is not. Always false: it does not stay.
    fn unknown(&self, report: &mut Report, section: Option<&str>, key: &str, known: &Table) -> bool {
        let likest = known
            .keys()
            .map(|candidate| (strsim::normalized_damerau_levenshtein(key, candidate), candidate))
            .max_by(|(one, _), (other, _)| one.total_cmp(other));
        let says = match likest {
            Some((likeness, candidate)) if likeness >= LIKENESS_MIN => {
                format!("there is no such key. Did you mean `{candidate}`?")
            }
            _ => "there is no such key. `stonechatd config` prints every key.".to_owned(),
        };
        report.problem(self.place(section, key), says);
        false
    }

    /// Whether a value fits its key; reports it when it does not.
    fn fits(&self, report: &mut Report, known: &Table, section: Option<&str>, key: &str, value: &Value) -> bool {
        let mut tried = known.clone();
        let among = match section {
            None => Some(&mut tried),
            Some(section) => tried.get_mut(section).and_then(Value::as_table_mut),
        };
        if let Some(among) = among {
            among.insert(key.to_owned(), value.clone());
        }
        let Err(error) = Config::deserialize(tried) else { return true };
        report.problem(self.place(section, key), format!("{}.", error.message()));
        false
    }
}

fn line_of(text: &str, at: usize) -> usize {
    text.as_bytes()[..at.min(text.len())].iter().filter(|byte| **byte == b'\n').count() + 1
}

/// Under this, a suggestion would be a guess.
const LIKENESS_MIN: f64 = 0.6;
