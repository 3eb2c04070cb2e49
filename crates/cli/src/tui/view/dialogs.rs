//! What lies over the rest of the screen: help, forms, members, questions, the recovery words.

use ratatui::Frame;
use ratatui::layout::{Position, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Paragraph};
use stonechat_client::{Conversation, Role};

use super::{View, counted, two_ends};
use crate::output;
use crate::text::{self, cells, fit, one_line, printable};
use crate::tui::state::{App, Dialog, Form, FormKind};

impl View<'_> {
    /// Draws what lies over the rest.
    pub(super) fn dialog(&self, app: &App, area: Rect, frame: &mut Frame<'_>) {
        let wide = usize::from(area.width).saturating_sub(4);
        let mut cursor = None;
        let (title, lines) = match &app.dialog {
            None => return,
            Some(Dialog::Help) => ("Keys", HELP.iter().map(|(keys, what)| self.help_line(keys, what)).collect()),
            Some(Dialog::Form(form)) => (form.kind.labels().0, self.form(form, wide.min(60), &mut cursor)),
            Some(Dialog::Members { conversation, at }) => match app.conversation(conversation) {
                Some(conversation) => (
                    "Members",
                    self.members(app, conversation, *at, wide.min(60), usize::from(area.height).saturating_sub(2)),
                ),
                None => return,
            },
            Some(Dialog::Text { title, lines, at }) => {
                let room = usize::from(area.height).saturating_sub(4).max(1);
                let all: Vec<_> =
                    lines.iter().flat_map(|line| self.wrapped(line, wide.min(72), Style::new())).collect();
                let first = (*at).min(all.len().saturating_sub(room));
                let mut shown: Vec<_> = all.into_iter().skip(first).take(room).collect();
                shown.push(Line::styled("j k scroll   Esc back", self.dim()));
                (title.as_str(), shown)
            }
            Some(Dialog::Alarms { at }) => {
                let Some(alarm) = app.alarms.get(*at) else { return };
                let warn = self.tinted(Color::Red).add_modifier(Modifier::BOLD);
                let mut lines = self.wrapped(&alarm.finding.to_string(), wide.min(60), warn);
                let revoke = if alarm.device.is_some() { "x revoke the device   " } else { "" };
                if alarm.evidence.is_some() {
                    lines.extend(self.wrapped(
                        "The evidence is in the folder of this account; stonechat alarms says where.",
                        wide.min(60),
                        self.dim(),
                    ));
                }
                let keys = format!("{} of {}   {revoke}d settled   Esc back", at + 1, app.alarms.len());
                lines.extend([Line::default(), Line::styled(keys, self.dim())]);
                ("Alarm", lines)
            }
            Some(Dialog::Confirm { question, .. }) => {
                let mut lines = self.wrapped(question, wide.min(60), Style::new());
                lines.extend([Line::default(), Line::styled("y yes   n no", self.dim())]);
                ("Are you sure?", lines)
            }
            Some(Dialog::Words { words, ask, answer, error, .. }) => {
                let answer = answer.text();
                (
                    "Your recovery words",
                    self.words(
                        words,
                        *ask,
                        answer,
                        error.as_deref(),
                        wide.min(72),
                        usize::from(area.height).saturating_sub(2),
                        &mut cursor,
                    ),
                )
            }
        };
        let width = lines.iter().map(Line::width).max().unwrap_or(0).max(cells(title) + 2).min(wide);
        let (w, h) = (
            u16::try_from(width + 4).unwrap_or(area.width),
            u16::try_from(lines.len() + 2).unwrap_or(area.height).min(area.height),
        );
        let w = w.min(area.width);
        let spot = Rect { x: area.x + (area.width - w) / 2, y: area.y + (area.height - h) / 2, width: w, height: h };
        let mut block = Block::bordered().title(format!(" {title} "));
        if !self.theme.unicode {
            block = block.border_set(ASCII_BORDER);
        }
        let inner = block.inner(spot);
        let inner = Rect { x: inner.x + 1, width: inner.width.saturating_sub(2), ..inner };
        frame.render_widget(Clear, spot);
        frame.render_widget(block, spot);
        frame.render_widget(Paragraph::new(lines), inner);
        if let Some((column, row)) = cursor {
            let x =
                inner.x.saturating_add(u16::try_from(column).unwrap_or(u16::MAX)).min(inner.right().saturating_sub(1));
            let y =
                inner.y.saturating_add(u16::try_from(row).unwrap_or(u16::MAX)).min(inner.bottom().saturating_sub(1));
            frame.set_cursor_position(Position::new(x, y));
        }
    }

    fn wrapped(&self, text: &str, width: usize, style: Style) -> Vec<Line<'static>> {
        let text = printable(text);
        text::wrap(&text, width)
            .into_iter()
            .map(|range| Line::styled(text[range].trim_end().to_owned(), style))
            .collect()
    }

    fn help_line(&self, keys: &str, what: &str) -> Line<'static> {
        let keys = if self.theme.unicode { keys.to_owned() } else { keys.replace("↑ ↓", "j k") };
        let pad = " ".repeat(15_usize.saturating_sub(cells(&keys)));
        Line::from(vec![Span::styled(format!("{keys}{pad}"), self.strong()), Span::raw(what.to_owned())])
    }

    fn form(&self, form: &Form, width: usize, cursor: &mut Option<(usize, usize)>) -> Vec<Line<'static>> {
        let (_, labels) = form.kind.labels();
        let mut lines = Vec::new();
        let intro: &[&str] = match form.kind {
            FormKind::SignUp => &["There is no account here yet. Choose a handle on a server."],
            FormKind::NewGroup | FormKind::Add(_) => &["Members: handles with spaces between, as in @bob @carol"],
            FormKind::NewDm => &["The handle of the person, as in @bob"],
            FormKind::Rename(_) => &[],
        };
        for text in intro {
            lines.extend(self.wrapped(text, width, self.dim()));
        }
        lines.push(Line::default());
        for (index, (label, field)) in labels.iter().zip(&form.fields).enumerate() {
            let room = width.saturating_sub(LABEL_CELLS + 1).max(4);
            let (parts, (column, row)) = field.layout(room);
            if index == form.at {
                *cursor = Some((LABEL_CELLS + column, lines.len()));
            }
            // One line a field: the part with the cursor.
            let part = one_line(parts[if index == form.at { row } else { 0 }]).into_owned();
            let style = if index == form.at { self.strong() } else { self.dim() };
            lines.push(Line::from(vec![
                Span::styled(format!("{label:<LABEL_CELLS$}"), style),
                Span::raw(format!("{part}{}", " ".repeat(room.saturating_sub(cells(&part))))),
            ]));
        }
        lines.push(Line::default());
        match (&form.error, form.busy) {
            (_, true) => lines.push(Line::styled("Signing up…", self.strong())),
            (Some(error), _) => {
                lines.extend(self.wrapped(error, width, self.tinted(Color::Red).add_modifier(Modifier::BOLD)));
            }
            (None, _) if form.kind == FormKind::SignUp => {
                lines.push(Line::styled("Tab next   Enter sign up   Esc quit", self.dim()));
            }
            (None, _) => lines.push(Line::styled("Tab next   Enter done   Esc cancel", self.dim())),
        }
        lines
    }

    fn members(
        &self,
        app: &App,
        conversation: &Conversation,
        at: usize,
        width: usize,
        height: usize,
    ) -> Vec<Line<'static>> {
        let mut lines = vec![Line::styled(fit(&one_line(&conversation.title), width).into_owned(), self.strong())];
        let room = height.saturating_sub(4).max(1);
        let first = (at + 1).saturating_sub(room);
        for (index, member) in conversation.members.iter().enumerate().skip(first).take(room) {
            let role = match (conversation.is_group, member.role) {
                (true, Role::Owner) => "owner",
                (true, Role::Admin) => "admin",
                (true, Role::Member) => "member",
                (false, _) => "",
            };
            let you = if app.me.as_ref().is_some_and(|me| me.account == member.account) { " (you)" } else { "" };
            let devices = counted(member.devices as usize, "device");
            let line = two_ends(
                &format!("{} {}{you}", self.lock(&conversation.lock), member.handle),
                &format!("{role}  {devices}"),
                width,
            );
            lines.push(Line::styled(line, if index == at { self.chosen() } else { Style::new() }));
        }
        lines.push(Line::default());
        let keys =
            if conversation.is_group { "a add  x remove  p role  e rename  L leave  Esc back" } else { "Esc back" };
        lines.push(Line::styled(keys, self.dim()));
        lines
    }

    #[expect(clippy::too_many_arguments, reason = "what the dialog holds, and where to draw it")]
    fn words(
        &self,
        words: &[String],
        ask: usize,
        answer: &str,
        error: Option<&str>,
        width: usize,
        height: usize,
        cursor: &mut Option<(usize, usize)>,
    ) -> Vec<Line<'static>> {
        let mut lines = Vec::new();
        if height >= 14 {
            lines.extend(self.wrapped(output::RECOVERY_WORDS_ARE_FOR, width, Style::new()));
            lines.push(Line::default());
        }
        let columns = (width / output::WORD_CELLS).clamp(1, 4);
        let columns = if words.len().div_ceil(columns) + 3 > height { (width / 12).max(1) } else { columns };
        let each = width / columns;
        for row in words.chunks(columns).enumerate() {
            let (index, row) = row;
            let line: String = row
                .iter()
                .enumerate()
                .map(|(i, word)| format!("{:<each$}", format!("{:>2} {word}", index * columns + i + 1)))
                .collect();
            lines.push(Line::styled(line, self.strong()));
        }
        if height >= 14 {
            lines.push(Line::default());
        }
        if let Some(error) = error {
            lines.extend(self.wrapped(error, width, self.tinted(Color::Red).add_modifier(Modifier::BOLD)));
        }
        let question = format!("Written down? Type word {}: ", ask + 1);
        *cursor = Some((cells(&question) + cells(answer), lines.len()));
        lines.push(Line::from(vec![Span::styled(question, self.dim()), Span::raw(one_line(answer).into_owned())]));
        lines
    }
}

/// Room for the name of a form's field.
const LABEL_CELLS: usize = 13;

const ASCII_BORDER: ratatui::symbols::border::Set<'static> = ratatui::symbols::border::Set {
    top_left: "+",
    top_right: "+",
    bottom_left: "+",
    bottom_right: "+",
    vertical_left: "|",
    vertical_right: "|",
    horizontal_top: "-",
    horizontal_bottom: "-",
};

const HELP: &[(&str, &str)] = &[
    ("↑ ↓  Enter", "choose and open a conversation"),
    ("Tab  Esc", "between the list and what is open"),
    ("Ctrl-N Ctrl-P", "next and previous conversation"),
    ("n   g", "new message, new group"),
    ("r", "requests: a accept, d decline"),
    ("m or Ctrl-G", "members of the conversation"),
    ("F2   F3", "why this lock?  what alarms stand?"),
    ("Enter", "send; Alt-Enter for a new line"),
    ("PgUp PgDn", "scroll through the messages"),
    ("Ctrl-W Ctrl-U", "delete the word, the line"),
    ("q or Ctrl-C", "quit; what is queued goes out later"),
];
