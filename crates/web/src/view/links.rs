//! Links in what somebody wrote. Only `http:` and `https:` are links, and only where it is plain where they lead: a host of ASCII
//! letters, digits, dots and hyphens, without a user name in front of it. Everything else stays text.

/// A piece of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// To be shown as it is.
    Text(&'a str),
    /// To be shown as it is, and to lead there.
    Link {
        /// The address, as written.
        address: &'a str,
        /// Where it leads, as written: `host` or `host:port`.
        host: &'a str,
    },
}

/// Takes a text apart. The pieces together are the text.
pub fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut found = Vec::new();
    let mut shown = 0;
    let mut from = 0;
    while let Some(start) = next_scheme(text, from) {
        let end = text[start..].find(ends_address).map_or(text.len(), |length| start + length);
        let address = without_tail(&text[start..end]);
        from = start + address.len().max(1);
        while !text.is_char_boundary(from) {
            from += 1;
        }
        let begins = text[..start].chars().next_back().is_none_or(|before| !before.is_alphanumeric());
        let Some(host) = host(address).filter(|_| begins) else { continue };
        if shown < start {
            found.push(Piece::Text(&text[shown..start]));
        }
        found.push(Piece::Link { address, host });
        shown = start + address.len();
    }
    if shown < text.len() {
        found.push(Piece::Text(&text[shown..]));
    }
    found
}

fn next_scheme(text: &str, from: usize) -> Option<usize> {
    let tail = text.get(from..)?;
    ["https://", "http://"].into_iter().filter_map(|scheme| tail.find(scheme)).min().map(|at| from + at)
}

fn ends_address(c: char) -> bool {
    c.is_whitespace()
        || c.is_control()
        || matches!(c, '<' | '>' | '"' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Punctuation behind an address belongs to the sentence; a bracket does when the address opened none.
fn without_tail(mut address: &str) -> &str {
    loop {
        let unbalanced = address.ends_with(')') && address.matches(')').count() > address.matches('(').count();
        let next = address.trim_end_matches(['.', ',', ';', ':', '!', '?', '\'', '…', ']', '*']);
        let next = if unbalanced { next.strip_suffix(')').unwrap_or(next) } else { next };
        if next.len() == address.len() {
            return address;
        }
        address = next;
    }
}

fn host(address: &str) -> Option<&str> {
    let rest = address.split_once("://")?.1;
    let authority = rest.split(['/', '?', '#', '\\']).next()?;
    let name = authority.split_once(':').map_or(authority, |(name, _)| name);
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
    let port = authority[name.len()..].chars().skip(1).all(|c| c.is_ascii_digit());
    (name.len() >= 2 && name.chars().all(plain) && port && !name.starts_with('.')).then_some(authority)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link<'a>(address: &'a str, host: &'a str) -> Piece<'a> {
        Piece::Link { address, host }
    }

    #[test]
    fn addresses_are_found_and_show_where_they_lead() {
        assert_eq!(
            pieces("see https://example.org/a(b)?q=1, or http://localhost:8080."),
            [
                Piece::Text("see "),
                link("https://example.org/a(b)?q=1", "example.org"),
                Piece::Text(", or "),
                link("http://localhost:8080", "localhost:8080"),
                Piece::Text("."),
            ]
        );
        assert_eq!(
            pieces("(https://a.example/x)"),
            [Piece::Text("("), link("https://a.example/x", "a.example"), Piece::Text(")")]
        );
    }

    #[test]
    fn what_hides_where_it_leads_stays_text() {
        for text in [
            "javascript:alert(1)",
            "data:text/html,x",
            "https://",
            "https://bank.example@evil.example/",
            "https://bänk.example/",
            "https://bank.example:x/",
            "xhttps://a.example",
            "ftp://a.example",
            "",
        ] {
            assert!(pieces(text).iter().all(|piece| matches!(piece, Piece::Text(_))), "{text}");
        }
    }

    #[test]
    fn the_pieces_are_the_text() {
        for text in [
            "ü https://a.example/ü… ü",
            "https://http://https://a.example",
            "https://a.example\u{202e}gro.elpmaxe",
            "https://ü",
        ] {
            let whole: String = pieces(text)
                .iter()
                .map(|piece| match piece {
                    Piece::Text(text) | Piece::Link { address: text, .. } => *text,
                })
                .collect();
            assert_eq!(whole, text);
        }
    }
}
