//! Text from other people on a terminal: made harmless, measured in cells, wrapped.
//!
//! A message, a group's name or anything else that somebody else chose must not move the cursor, colour the screen, set the
//! window's title or turn the reading direction around. Everything that this program prints for people goes through
//! [`printable`] or [`one_line`]; JSON escapes by itself.

use std::borrow::Cow;
use std::ops::Range;

use unicode_segmentation::UnicodeSegmentation as _;
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// Makes a text of several lines harmless: line breaks stay, a tab becomes spaces, control characters become visible signs,
/// and what reorders or hides text goes.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    clean(text, true)
}

/// As [`printable`], on one line: a line break becomes `⏎`.
pub(crate) fn one_line(text: &str) -> Cow<'_, str> {
    clean(text, false)
}

fn clean(text: &str, lines: bool) -> Cow<'_, str> {
    let harmless = |c: char| {
        !c.is_control() && !reorders_or_hides(c) && !matches!(c, '\u{2028}' | '\u{2029}') && c.width() != Some(0)
    };
    if text.chars().all(harmless) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut marks = 0;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        marks = if c.width() == Some(0) { marks + 1 } else { 0 };
        match c {
            '\r' if chars.peek() == Some(&'\n') => {}
            '\n' | '\u{2028}' | '\u{2029}' if lines => out.push('\n'),
            '\n' | '\u{2028}' | '\u{2029}' => out.push('⏎'),
            '\t' => out.push_str("    "),
            // The Unicode block "Control Pictures" has a sign for each.
            '\0'..='\x1f' => out.push(char::from_u32(0x2400 + u32::from(c)).unwrap_or('\u{FFFD}')),
            '\x7f' => out.push('␡'),
            c if c.is_control() => out.push('\u{FFFD}'),
            c if reorders_or_hides(c) => {}
            _ if marks > MARKS_MAX => {}
            c => out.push(c),
        }
    }
    Cow::Owned(out)
}

/// Direction marks, embeddings, overrides and isolates, and signs that nobody sees. Joiners stay: scripts and emoji need them.
fn reorders_or_hides(c: char) -> bool {
    matches!(
        c,
        '\u{061C}' | '\u{180E}' | '\u{200B}' | '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{FEFF}'
            | '\u{FFF9}'..='\u{FFFB}'
    )
}

/// How many terminal cells a text on one line takes.
pub(crate) fn cells(text: &str) -> usize {
    text.graphemes(true).map(grapheme_cells).sum()
}

fn grapheme_cells(grapheme: &str) -> usize {
    grapheme.width()
}

/// Cuts a text on one line to `width` cells; what was cut is marked with `…`.
pub(crate) fn fit(text: &str, width: usize) -> Cow<'_, str> {
    if cells(text) <= width {
        return Cow::Borrowed(text);
    }
    let mut out = String::new();
    let mut used = 0;
    for grapheme in text.graphemes(true) {
        let wide = grapheme_cells(grapheme);
        if used + wide + 1 > width {
            break;
        }
        used += wide;
        out.push_str(grapheme);
    }
    if width > 0 {
        out.push('…');
    }
    Cow::Owned(out)
}

/// Breaks a text into the byte ranges of its screen lines, each of at most `width` cells (white space at a break may hang
/// over): at line breaks, then between words, then, in a word longer than a line, between graphemes. Never empty.
pub(crate) fn wrap(text: &str, width: usize) -> Vec<Range<usize>> {
    let width = width.max(1);
    let mut out = Vec::new();
    let mut line_start = 0;
    for line in text.split('\n') {
        wrap_line(line, line_start, width, &mut out);
        line_start += line.len() + 1;
    }
    out
}

fn wrap_line(line: &str, offset: usize, width: usize, out: &mut Vec<Range<usize>>) {
    let (mut start, mut used) = (0, 0);
    for (at, word) in line.split_word_bound_indices() {
        let wide = cells(word);
        if word.trim().is_empty() || used + wide <= width {
            used += wide;
            continue;
        }
        if used > 0 {
            out.push(offset + start..offset + at);
            (start, used) = (at, 0);
        }
        if wide <= width {
            used = wide;
            continue;
        }
        for (inside, grapheme) in word.grapheme_indices(true) {
            let wide = grapheme_cells(grapheme);
            if used > 0 && used + wide > width {
                out.push(offset + start..offset + at + inside);
                (start, used) = (at + inside, 0);
            }
            used += wide;
        }
    }
    out.push(offset + start..offset + line.len());
}

/// Marks on one letter that are shown; a pile of hundreds would cover its neighbours.
const MARKS_MAX: usize = 6;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_text_cannot_drive_the_terminal() {
        for (hostile, shown) in [
            ("\x1b[2J\x1b]0;owned\x07", "␛[2J␛]0;owned␇"),
            ("a\rb", "a␍b"),
            ("a\r\nb", "a\nb"),
            ("\u{9b}31mred", "\u{FFFD}31mred"),
            ("x\u{7f}\0", "x␡␀"),
            ("pay \u{202E}eciF\u{202C} now", "pay eciF now"),
            ("\u{2066}\u{2069}\u{200F}a\u{200B}\u{FEFF}b", "ab"),
            ("a\u{2028}b\tc", "a\nb    c"),
        ] {
            let clean = printable(hostile);
            assert_eq!(clean, shown);
            assert!(clean.chars().all(|c| c == '\n' || !c.is_control()), "{clean:?}");
        }
        assert_eq!(one_line("a\nb\u{2029}c"), "a⏎b⏎c");
    }

    #[test]
    fn every_control_character_is_neutralised() {
        for c in (0..=0x9f_u32).filter_map(char::from_u32).filter(|c| c.is_control()) {
            let text = format!("a{c}b");
            assert!(!one_line(&text).chars().any(char::is_control), "{c:?}");
        }
    }

    #[test]
    fn honest_text_stays_as_it_is() {
        for honest in ["hello", "שלום", "привет 你好", "👩‍👩‍👧‍👦 family", "می‌خواهم", "cafe\u{301}", ""]
        {
            assert_eq!(printable(honest), honest);
        }
        let pile = format!("a{}", "\u{301}".repeat(500));
        assert!(printable(&pile).chars().count() <= 1 + MARKS_MAX);
    }

    #[test]
    fn cutting_counts_cells_and_keeps_graphemes_whole() {
        assert_eq!(fit("hello", 5), "hello");
        assert_eq!(fit("hello!", 5), "hell…");
        assert_eq!(fit("你好世界", 5), "你好…");
        assert_eq!(fit("你好世界", 4), "你…");
        assert_eq!(fit("abc", 1), "…");
        assert_eq!(fit("abc", 0), "");
    }

    #[test]
    fn wrapping_loses_nothing_and_fits() {
        let lines = |text: &str, width| wrap(text, width).into_iter().map(|r| text[r].to_owned()).collect::<Vec<_>>();
        assert_eq!(lines("one two three", 8), ["one two ", "three"]);
        assert_eq!(lines("a\n\nb", 8), ["a", "", "b"]);
        assert_eq!(lines("abcdefgh", 3), ["abc", "def", "gh"]);
        assert_eq!(lines("你好世界", 5), ["你好", "世界"]);
        assert_eq!(lines("", 5), [""]);
        assert_eq!(lines("👩‍👩‍👧‍👦👩‍👩‍👧‍👦", 1), ["👩‍👩‍👧‍👦", "👩‍👩‍👧‍👦"]);
        for text in
            ["some words of every length, incomprehensibilities too", "  lead", "x  \ny", "你好, world 👋🏽 again"]
        {
            for width in 1..30 {
                let wrapped = wrap(text, width);
                assert!(
                    wrapped.iter().all(|r| cells(text[r.clone()].trim_end()) <= width.max(2)),
                    "{text:?} at {width}"
                );
                let joined: String = wrapped.iter().map(|r| &text[r.clone()]).collect();
                assert_eq!(joined, text.replace('\n', ""));
            }
        }
    }
}
