//! Draws the state. Pure: the same state, clock and size give the same screen.
//!
//! Everything that other people chose goes through [`text::printable`] or [`text::one_line`] here. Wide screens show the list
//! and what is open side by side, narrow ones the side that has the keys.

mod dialogs;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Position, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;
use stonechat_client::{Body, Conversation, Lock, Message, Status};

use super::state::{App, Connection, Dialog, Entry, Focus, Open};
use crate::text::{self, cells, fit, one_line, printable};
use crate::{output, time};

/// What the terminal can show.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Theme {
    /// Colours, unless `NO_COLOR` asks for none.
    pub color: bool,
    /// Signs beyond ASCII.
    pub unicode: bool,
}

/// What time it is, and where.
#[derive(Clone, Debug)]
pub(crate) struct Clock {
    /// The person's time zone.
    pub zone: TimeZone,
    /// The day it is there.
    pub today: Date,
}

/// Draws everything, and tells the state how far it can scroll.
pub(crate) fn render(app: &mut App, theme: Theme, clock: &Clock, frame: &mut Frame<'_>) {
    let area = frame.area();
    if area.width < 4 || area.height < 3 {
        return;
    }
    let [main, bottom] =
        Layout::vertical([Constraint::Min(1), Constraint::Length(if area.height >= 14 { 2 } else { 1 })]).areas(area);
    let view = View { theme, clock };
    let signing_up = app.me.is_none() || matches!(app.dialog, Some(Dialog::Words { .. }));
    if !signing_up {
        if area.width >= TWO_PANES_CELLS {
            let list_width = (area.width / 3).clamp(22, 36);
            let [list, rule, pane] =
                Layout::horizontal([Constraint::Length(list_width), Constraint::Length(1), Constraint::Min(1)])
                    .areas(main);
            view.list(app, list, frame);
            let bar = if theme.unicode { "│" } else { "|" };
            frame.render_widget(Paragraph::new(vec![Line::styled(bar, view.dim()); usize::from(rule.height)]), rule);
            view.pane(app, pane, frame);
        } else if app.focus == Focus::List || app.open == Open::Nothing {
            view.list(app, main, frame);
        } else {
            view.pane(app, main, frame);
        }
        view.bottom(app, bottom, frame);
    }
    if app.dialog.is_some() {
        view.dialog(app, area, frame);
    }
}

struct View<'a> {
    theme: Theme,
    clock: &'a Clock,
}

impl View<'_> {
    fn dim(&self) -> Style {
        if self.theme.color { Style::new().fg(Color::DarkGray) } else { Style::new().add_modifier(Modifier::DIM) }
    }

    fn strong(&self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    fn tinted(&self, color: Color) -> Style {
        if self.theme.color { Style::new().fg(color) } else { Style::new() }
    }

    fn chosen(&self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    fn lock(&self, lock: &Lock) -> &'static str {
        match (lock, self.theme.unicode) {
            (Lock::Closed, true) => "🔒",
            (Lock::Open(_), true) => "🔓",
            (Lock::Closed, false) => "[lock]",
            (Lock::Open(_), false) => "[OPEN]",
        }
    }

    // The list

    fn list(&self, app: &App, area: Rect, frame: &mut Frame<'_>) {
        let width = usize::from(area.width);
        let name = app.me.as_ref().map(|me| me.handle.to_string()).unwrap_or_default();
        let title = Line::styled(fit(&format!(" Stonechat {name}"), width).into_owned(), self.strong());
        let [head, body] = Layout::vertical([Constraint::Length(1), Constraint::Min(0)]).areas(area);
        frame.render_widget(title, head);
        let entries = app.entries();
        let at = app.selected.and_then(|entry| entries.iter().position(|e| *e == entry));
        let height = usize::from(body.height);
        let first = at.map_or(0, |at| (at + 1).saturating_sub(height));
        let mut lines: Vec<Line<'_>> = Vec::new();
        for (index, entry) in entries.iter().enumerate().skip(first).take(height) {
            let line = match entry {
                Entry::Requests => {
                    let style = if app.requests.is_empty() {
                        self.dim()
                    } else {
                        self.tinted(Color::Yellow).add_modifier(Modifier::BOLD)
                    };
                    let count = if app.requests.is_empty() { String::new() } else { app.requests.len().to_string() };
                    Line::styled(two_ends(" Requests", &count, width), style)
                }
                Entry::Conversation(id) => match app.conversation(id) {
                    Some(conversation) => {
                        let open = app.open == Open::Conversation(*id);
                        let style = if conversation.unread > 0 || open { self.strong() } else { Style::new() };
                        Line::styled(self.list_line(conversation, open, width), style)
                    }
                    None => Line::default(),
                },
            };
            let chosen = Some(index) == at && app.focus == Focus::List;
            lines.push(if chosen { line.patch_style(self.chosen()) } else { line });
        }
        if app.conversations.is_empty() && height > lines.len() + 2 {
            lines.push(Line::default());
            for hint in ["No conversations yet.", "Press n to write."] {
                lines.push(Line::styled(fit(&format!(" {hint}"), width).into_owned(), self.dim()));
            }
        }
        frame.render_widget(Paragraph::new(lines), body);
    }

    fn list_line(&self, conversation: &Conversation, open: bool, width: usize) -> String {
        let mark = match (open, self.theme.unicode) {
            (true, true) => "▸",
            (true, false) => ">",
            (false, _) => " ",
        };
        let unread = if conversation.unread > 0 { format!("{} ", conversation.unread) } else { String::new() };
        let lock = self.lock(&conversation.lock);
        let title = one_line(&conversation.title);
        let verified = match (conversation.compared, self.theme.unicode) {
            (true, true) => " ✓",
            (true, false) => " ok",
            (false, _) => "",
        };
        let title = fit(&title, width.saturating_sub(cells(&unread) + cells(lock) + cells(verified) + 4));
        two_ends(&format!("{mark}{lock} {title}{verified}"), unread.trim_end(), width)
    }

    // What is open

    fn pane(&self, app: &mut App, area: Rect, frame: &mut Frame<'_>) {
        match app.open.clone() {
            Open::Nothing => self.welcome(app, area, frame),
            Open::Requests => self.requests(app, area, frame),
            Open::Person(handle) => {
                let head = vec![
                    Line::styled(format!(" {handle}"), self.strong()),
                    Line::styled(" A new conversation. It opens with your first message.".to_owned(), self.dim()),
                ];
                self.talk(app, head, &handle.to_string(), area, frame);
            }
            Open::Conversation(id) => {
                let Some(conversation) = app.conversation(&id) else { return };
                let title = one_line(&conversation.title).into_owned();
                let head = self.head(conversation, usize::from(area.width));
                self.talk(app, head, &title, area, frame);
            }
        }
    }

    fn welcome(&self, app: &App, area: Rect, frame: &mut Frame<'_>) {
        let lines = [
            "",
            " Choose a conversation with the arrow keys",
            " and open it with Enter.",
            "",
            " n  write to somebody",
            " g  make a group",
            " ?  all keys",
        ];
        let mut lines: Vec<_> = lines.into_iter().map(|line| Line::styled(line, self.dim())).collect();
        if !app.requests.is_empty() {
            lines.push(Line::default());
            lines.push(Line::styled(
                format!(" r  {} waiting for your answer", counted(app.requests.len(), "request")),
                self.strong(),
            ));
        }
        frame.render_widget(Paragraph::new(lines), area);
    }

    fn requests(&self, app: &App, area: Rect, frame: &mut Frame<'_>) {
        let width = usize::from(area.width);
        let mut lines = vec![Line::styled(" Requests", self.strong())];
        if app.requests.is_empty() {
            lines.push(Line::styled(" Nobody waits for an answer.", self.dim()));
        } else {
            lines.push(Line::styled(
                fit(" They see nothing until you accept. a accept, d decline", width).into_owned(),
                self.dim(),
            ));
        }
        let room = usize::from(area.height).saturating_sub(2);
        let first = (app.request_at + 1).saturating_sub(room);
        for (index, request) in app.requests.iter().enumerate().skip(first).take(room) {
            let what = if request.is_group { "invites you to a group" } else { "wants to write to you" };
            let when = time::short(request.at, &self.clock.zone);
            let line = two_ends(&format!(" {} {what}", request.handle), &when, width);
            let style = if index == app.request_at && app.focus == Focus::Pane { self.chosen() } else { Style::new() };
            lines.push(Line::styled(line, style));
        }
        frame.render_widget(Paragraph::new(lines), area);
    }

    fn head(&self, conversation: &Conversation, width: usize) -> Vec<Line<'static>> {
        let lock = self.lock(&conversation.lock);
        let title = one_line(&conversation.title);
        let people = if conversation.is_group { counted(conversation.members.len(), "member") } else { String::new() };
        let title = fit(&title, width.saturating_sub(cells(lock) + cells(&people) + 4)).into_owned();
        let mut head = vec![Line::styled(two_ends(&format!(" {title} {lock}"), &people, width), self.strong())];
        let quiet = self.dim();
        let warn = self.tinted(Color::Yellow).add_modifier(Modifier::BOLD);
        let mut say = |text: &str, style: Style| {
            head.push(Line::styled(fit(&format!(" {}", one_line(text)), width).into_owned(), style));
        };
        say(output::ENCRYPTED, quiet);
        if let Lock::Open(why) = &conversation.lock {
            say(&format!("Not verified: {why}"), self.tinted(Color::Red).add_modifier(Modifier::BOLD));
        }
        if let Some(hold) = &conversation.hold {
            say(&hold.to_string(), warn);
        }
        if !conversation.active && conversation.hold.is_none() {
            say("You are no longer in this group.", warn);
        }
        head
    }

    /// A head, messages, and where one writes.
    fn talk(&self, app: &mut App, head: Vec<Line<'_>>, title: &str, area: Rect, frame: &mut Frame<'_>) {
        let width = usize::from(area.width);
        let (written, (column, row)) = app.composer.layout(width.saturating_sub(2));
        let most = usize::from(area.height / 3).max(1);
        let shown = written.len().min(most);
        let first = (row + 1).saturating_sub(shown).min(written.len() - shown);
        let head_height = u16::try_from(head.len()).unwrap_or(u16::MAX).min(area.height.saturating_sub(3));
        let [top, middle, rule, below] = Layout::vertical([
            Constraint::Length(head_height),
            Constraint::Min(1),
            Constraint::Length(1),
            Constraint::Length(u16::try_from(shown).unwrap_or(1)),
        ])
        .areas(area);
        let prompt = if self.theme.unicode { "› " } else { "> " };
        let composing = written.iter().skip(first).take(shown).enumerate().map(|(index, line)| {
            let lead = if index + first == 0 { prompt } else { "  " };
            Line::from(vec![Span::styled(lead, self.dim()), Span::raw(one_line(line).into_owned())])
        });
        frame.render_widget(Paragraph::new(composing.collect::<Vec<_>>()), below);
        if app.focus == Focus::Pane && app.dialog.is_none() {
            let x = below
                .x
                .saturating_add(u16::try_from(column + 2).unwrap_or(u16::MAX))
                .min(below.right().saturating_sub(1));
            let y = below.y.saturating_add(u16::try_from(row - first).unwrap_or(0));
            frame.set_cursor_position(Position::new(x, y));
        }
        frame.render_widget(Paragraph::new(head), top);
        self.messages(app, middle, frame);
        let line = if self.theme.unicode { "─" } else { "-" };
        let newer = app.newer();
        let label = match (newer, app.pinned) {
            (0, None) => format!(" To {title} "),
            (0, Some(_)) => " PgDn: to the latest ".to_owned(),
            (newer, _) => format!(" {newer} new below, PgDn "),
        };
        let label = fit(&label, width.saturating_sub(2)).into_owned();
        let rest = line.repeat(width.saturating_sub(cells(&label) + 1));
        frame.render_widget(Line::styled(format!("{line}{label}{rest}"), self.dim()), rule);
    }

    fn messages(&self, app: &mut App, area: Rect, frame: &mut Frame<'_>) {
        let (width, height) = (usize::from(area.width), usize::from(area.height));
        app.page = height;
        let end = app.messages.len() - app.newer();
        let mut blocks: Vec<Vec<Line<'static>>> = Vec::new();
        let mut lines = 0;
        let mut first = end;
        // From the newest up, as far as the screen shows.
        while first > 0 && lines < height + app.scroll {
            first -= 1;
            let before = first.checked_sub(1).map(|at| &app.messages[at]);
            let block = self.message(app, before, &app.messages[first], width);
            lines += block.len();
            blocks.push(block);
        }
        app.at_top = lines < height + app.scroll;
        if app.at_top {
            app.scroll = lines.saturating_sub(height);
        }
        let all: Vec<Line<'static>> = blocks.into_iter().rev().flatten().collect();
        let bottom = all.len() - app.scroll.min(all.len());
        let top = bottom.saturating_sub(height);
        let shown = all[top..bottom].to_vec();
        let pad = height.saturating_sub(shown.len());
        let area = Rect {
            y: area.y + u16::try_from(pad).unwrap_or(0),
            height: area.height - u16::try_from(pad).unwrap_or(0),
            ..area
        };
        frame.render_widget(Paragraph::new(shown), area);
    }

    /// A message's lines, with the day and the sender above it where they change.
    fn message(&self, app: &App, before: Option<&Message>, message: &Message, width: usize) -> Vec<Line<'static>> {
        let at = time::local(message.sent_at, &self.clock.zone);
        let previous = before.map(|m| (m, time::local(m.sent_at, &self.clock.zone)));
        let same_day = previous.as_ref().is_some_and(|(_, then)| then.date() == at.date());
        let near = |m: &Message| message.sent_at.0.abs_diff(m.sent_at.0) < GROUPED_WITHIN_MS;
        let grouped = same_day
            && previous
                .as_ref()
                .is_some_and(|(m, _)| m.sender == message.sender && near(m) && !matches!(m.body, Body::Notice(_)));
        let mut lines = Vec::new();
        if !same_day {
            let day = format!(" {} ", day_name(at.date(), self.clock.today));
            let line = if self.theme.unicode { "─" } else { "-" };
            let side = width.saturating_sub(cells(&day)) / 2;
            lines.push(Line::styled(format!("{}{day}{}", line.repeat(side), line.repeat(side)), self.dim()));
        }
        if let Body::Notice(notice) = &message.body {
            let style =
                if notice.is_loud() { self.tinted(Color::Red).add_modifier(Modifier::BOLD) } else { self.dim() };
            if same_day {
                lines.push(Line::default());
            }
            let (body, body_width) = (notice.to_string(), width.saturating_sub(3));
            let rows = text::wrap(&body, body_width).into_iter();
            lines.extend(rows.map(|range| Line::styled(format!("   {}", body[range].trim_end()), style)));
            return lines;
        }
        let own = app.me.as_ref().is_some_and(|me| me.account == message.sender);
        if !grouped {
            if same_day {
                lines.push(Line::default());
            }
            let name = if own { "you".to_owned() } else { message.sender_handle.to_string() };
            let style = self
                .tinted(if own { Color::Green } else { tint(message.sender.as_bytes()[0]) })
                .add_modifier(Modifier::BOLD);
            lines.push(Line::from(vec![
                Span::styled(format!(" {}", fit(&name, width.saturating_sub(8))), style),
                Span::styled(format!(" {}", at.strftime("%H:%M")), self.dim()),
            ]));
        }
        let (body, style) = match &message.body {
            Body::Text(text) => (printable(text).into_owned(), Style::new()),
            _ => (output::NEWER_THAN_THIS_APP.to_owned(), self.dim()),
        };
        let body_width = width.saturating_sub(3);
        for range in text::wrap(&body, body_width) {
            lines.push(Line::styled(format!("   {}", body[range].trim_end()), style));
        }
        let mark = match (message.status, self.theme.unicode) {
            (Status::Received, _) => None,
            (Status::Queued, _) => Some("queued"),
            (Status::Sent, true) => Some("✓"),
            (Status::Sent, false) => Some("sent"),
            (Status::Delivered, true) => Some("✓✓"),
            (Status::Delivered, false) => Some("delivered"),
            (Status::Failed, _) => Some("not sent"),
        };
        if let (Some(mark), Some(last)) = (mark, lines.last_mut()) {
            let style = if message.status == Status::Failed { self.tinted(Color::Red) } else { self.dim() };
            if last.width() + 1 + cells(mark) <= width {
                last.push_span(Span::styled(format!(" {mark}"), style.remove_modifier(Modifier::BOLD)));
            } else {
                lines.push(Line::styled(format!("   {mark}"), style));
            }
        }
        lines
    }

    // The bottom

    fn bottom(&self, app: &App, area: Rect, frame: &mut Frame<'_>) {
        let width = usize::from(area.width);
        let (state, style) = match &app.connection {
            Connection::Online => ("Online".to_owned(), self.tinted(Color::Green)),
            Connection::Connecting => ("Connecting…".to_owned(), self.tinted(Color::Yellow)),
            Connection::Offline(why) if width >= TWO_PANES_CELLS.into() => {
                (format!("Offline — sending later ({})", one_line(why)), self.tinted(Color::Yellow))
            }
            Connection::Offline(_) => ("Offline — sending later".to_owned(), self.tinted(Color::Yellow)),
        };
        let state = if self.theme.unicode { state } else { state.replace('—', "-").replace('…', "...") };
        let status = match &app.said {
            Some(said) => Line::styled(fit(&format!(" {}", one_line(said)), width).into_owned(), self.strong()),
            None if !app.alarms.is_empty() => {
                let alarm = format!(" ALARM (F3): {}", one_line(&app.alarms[0].finding.to_string()));
                let style = self.tinted(Color::Red).add_modifier(Modifier::BOLD | Modifier::REVERSED);
                Line::styled(fit(&alarm, width).into_owned(), style)
            }
            None => Line::styled(fit(&format!(" {state}"), width).into_owned(), style),
        };
        let keys = match (app.focus, &app.open) {
            (Focus::Pane, Open::Requests) => "a accept  d decline  ↑↓ choose  Esc back  ? help  q quit",
            (Focus::Pane, Open::Conversation(_) | Open::Person(_)) => {
                "Enter send  Alt-Enter new line  PgUp/PgDn scroll  Esc list  F1 help"
            }
            (Focus::List, _) | (_, Open::Nothing) => {
                "Enter open  n new  g group  r requests  m members  ? help  q quit"
            }
        };
        let keys = if self.theme.unicode { keys.to_owned() } else { keys.replace("↑↓", "j/k") };
        let keys = Line::styled(fit(&format!(" {keys}"), width).into_owned(), self.dim());
        if area.height >= 2 {
            frame.render_widget(Paragraph::new(vec![status, keys]), area);
        } else {
            let quiet = app.said.is_none() && app.alarms.is_empty() && app.connection == Connection::Online;
            frame.render_widget(if quiet { keys } else { status }, area);
        }
    }
}

/// A text at each end of a line.
fn two_ends(left: &str, right: &str, width: usize) -> String {
    let space = width.saturating_sub(cells(right) + 1);
    let left = fit(left, space);
    let gap = " ".repeat(space.saturating_sub(cells(&left)));
    if right.is_empty() { format!("{left}{gap} ") } else { format!("{left}{gap}{right} ") }
}

/// `1 member`, `2 members`.
fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn day_name(day: Date, today: Date) -> String {
    if day == today {
        "Today".into()
    } else if today.yesterday().is_ok_and(|yesterday| day == yesterday) {
        "Yesterday".into()
    } else {
        day.strftime("%A, %-d %B %Y").to_string()
    }
}

/// A colour for a person, the same each time.
fn tint(byte: u8) -> Color {
    const COLORS: [Color; 5] = [Color::Cyan, Color::Magenta, Color::Blue, Color::LightRed, Color::LightCyan];
    COLORS[usize::from(byte) % COLORS.len()]
}

/// From this width on, both sides are shown.
const TWO_PANES_CELLS: u16 = 64;
/// Messages of one person within this time share a heading.
const GROUPED_WITHIN_MS: u64 = 5 * 60 * 1_000;

#[cfg(test)]
mod tests;
