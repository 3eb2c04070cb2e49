//! A text being written: graphemes, words and lines, a cursor, nothing of keys or screens.

use std::fmt;
use std::ops::Range;

use unicode_segmentation::UnicodeSegmentation as _;

use crate::text;

/// A text and where the next letter goes. `Debug` tells its size, as it does for every text.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Editor {
    text: String,
    /// A byte offset, always between two graphemes.
    cursor: usize,
}

/// Where the cursor may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Move {
    /// One grapheme back.
    Left,
    /// One grapheme on.
    Right,
    /// To the start of this or the previous word.
    WordLeft,
    /// To the end of this or the next word.
    WordRight,
    /// To the start of the line.
    Home,
    /// To the end of the line.
    End,
    /// One line up.
    Up,
    /// One line down.
    Down,
}

impl fmt::Debug for Editor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Editor({} B)", self.text.len())
    }
}

impl Editor {
    /// A text with the cursor at its end.
    pub(crate) fn with(text: &str) -> Self {
        Self { text: text.to_owned(), cursor: text.len() }
    }

    /// What was written.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Whether nothing was.
    pub(crate) fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// Writes at the cursor. Line endings of other systems become line breaks, other control characters but tabs go.
    pub(crate) fn insert(&mut self, text: &str) {
        let text: String = text
            .replace("\r\n", "\n")
            .replace('\r', "\n")
            .chars()
            .filter(|c| matches!(c, '\n' | '\t') || !c.is_control())
            .collect();
        self.text.insert_str(self.cursor, &text);
        self.cursor += text.len();
        self.settle();
    }

    /// Moves the cursor; `false` if it is there already.
    pub(crate) fn go(&mut self, to: Move) -> bool {
        let before = self.cursor;
        self.cursor = self.target(to);
        self.cursor != before
    }

    /// Deletes from the cursor to where a move would take it.
    pub(crate) fn delete(&mut self, to: Move) {
        let target = self.target(to);
        let range = target.min(self.cursor)..target.max(self.cursor);
        self.cursor = range.start;
        self.text.replace_range(range, "");
        self.settle();
    }

    /// Joining two texts can join two graphemes around the cursor: it moves behind them.
    fn settle(&mut self) {
        let at = self.cursor;
        self.cursor = self.text.grapheme_indices(true).map(|(i, _)| i).find(|i| *i >= at).unwrap_or(self.text.len());
    }

    fn target(&self, to: Move) -> usize {
        let (before, after) = self.text.split_at(self.cursor);
        match to {
            Move::Left => before.grapheme_indices(true).next_back().map_or(0, |(at, _)| at),
            Move::Right => self.cursor + after.graphemes(true).next().map_or(0, str::len),
            Move::WordLeft => before.unicode_word_indices().next_back().map_or(0, |(at, _)| at),
            Move::WordRight => {
                after.unicode_word_indices().next().map_or(self.text.len(), |(at, word)| self.cursor + at + word.len())
            }
            Move::Home => self.line().start,
            Move::End => self.line().end,
            Move::Up => {
                let line = self.line();
                match line.start.checked_sub(1) {
                    Some(end) => self.at_column(self.text[..end].rfind('\n').map_or(0, |at| at + 1)..end, &line),
                    None => self.cursor,
                }
            }
            Move::Down => {
                let line = self.line();
                let start = line.end + 1;
                if start > self.text.len() {
                    return self.cursor;
                }
                let end = self.text[start..].find('\n').map_or(self.text.len(), |at| start + at);
                self.at_column(start..end, &line)
            }
        }
    }

    /// The line that the cursor is in, without its line break.
    fn line(&self) -> Range<usize> {
        let start = self.text[..self.cursor].rfind('\n').map_or(0, |at| at + 1);
        let end = self.text[self.cursor..].find('\n').map_or(self.text.len(), |at| self.cursor + at);
        start..end
    }

    /// The place in `line` that stands below or above the cursor, which is in `from`.
    fn at_column(&self, line: Range<usize>, from: &Range<usize>) -> usize {
        let column = text::cells(&self.text[from.start..self.cursor]);
        let mut used = 0;
        for (at, grapheme) in self.text[line.clone()].grapheme_indices(true) {
            if used >= column {
                return line.start + at;
            }
            used += text::cells(grapheme);
        }
        line.end
    }

    /// The screen lines at this width and the cursor's column and line among them.
    pub(crate) fn layout(&self, width: usize) -> (Vec<&str>, (usize, usize)) {
        let width = width.max(1);
        let mut lines = text::wrap(&self.text, width);
        let row = lines.iter().rposition(|line| line.start <= self.cursor).unwrap_or(0);
        let column = text::cells(&self.text[lines[row].start..self.cursor.min(lines[row].end)]);
        if column >= width && row + 1 == lines.len() {
            lines.push(self.text.len()..self.text.len());
            return (lines.into_iter().map(|line| &self.text[line]).collect(), (0, row + 1));
        }
        (lines.into_iter().map(|line| &self.text[line]).collect(), (column.min(width - 1), row))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(text: &str) -> Editor {
        let mut editor = Editor::default();
        editor.insert(text);
        editor
    }

    #[test]
    fn backspace_deletes_what_a_person_calls_one_letter() {
        for (text, left) in [("ab", "a"), ("a👩‍👩‍👧‍👦", "a"), ("cafe\u{301}", "caf"), ("🇩🇪🇫🇷", "🇩🇪"), ("", "")]
        {
            let mut editor = typed(text);
            editor.delete(Move::Left);
            assert_eq!(editor.text(), left);
        }
    }

    #[test]
    fn words_are_moved_over_and_deleted_whole() {
        let mut editor = typed("don't stop, größer");
        editor.delete(Move::WordLeft);
        assert_eq!(editor.text(), "don't stop, ");
        editor.go(Move::WordLeft);
        editor.insert("x");
        assert_eq!(editor.text(), "don't xstop, ");
        editor.go(Move::Home);
        editor.go(Move::WordRight);
        editor.delete(Move::End);
        assert_eq!(editor.text(), "don't");
    }

    #[test]
    fn lines_are_walked_by_column_and_wide_letters_count_twice() {
        let mut editor = typed("你好世界\nabcdef\nx");
        assert!(editor.go(Move::Up));
        assert!(editor.go(Move::End));
        assert!(editor.go(Move::Up));
        editor.insert("|");
        assert_eq!(editor.text(), "你好世|界\nabcdef\nx", "column 6 is behind three wide letters");
        assert!(!editor.go(Move::Up), "the first line is the end of the way");
        assert!(editor.go(Move::Down));
    }

    #[test]
    fn pasting_keeps_lines_and_drops_escapes() {
        assert_eq!(typed("a\r\nb\rc\x1b[31m\td").text(), "a\nb\nc[31m\td");
    }

    #[test]
    fn a_cursor_is_always_between_graphemes() {
        let mut editor = typed("👩\u{200d}👧");
        editor.go(Move::Home);
        editor.insert("e");
        editor.insert("\u{301}");
        assert!(editor.text().grapheme_indices(true).any(|(at, _)| at == editor.cursor));
        editor.delete(Move::Right);
        assert_eq!(editor.text(), "e\u{301}");
    }

    #[test]
    fn the_layout_shows_the_cursor_on_its_line() {
        assert_eq!(typed("abc").layout(10), (vec!["abc"], (3, 0)));
        assert_eq!(typed("abc").layout(3), (vec!["abc", ""], (0, 1)));
        assert_eq!(typed("abc\n").layout(10), (vec!["abc", ""], (0, 1)));
        assert_eq!(typed("one two").layout(5).1, (3, 1));
        assert_eq!(Editor::default().layout(0), (vec![""], (0, 0)));
    }
}
