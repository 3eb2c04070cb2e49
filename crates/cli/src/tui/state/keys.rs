//! What each key makes of the state.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use stonechat_client::{ConversationId, GROUP_NAME_BYTES_MAX, Handle, Role, TEXT_BYTES_MAX, Target};

use super::{Action, App, Dialog, Entry, Focus, Form, FormKind, MESSAGES_MAX, Open, PAGE_MESSAGES, form};
use crate::tui::editor::{Editor, Move};

impl App {
    /// Takes a key.
    pub(crate) fn key(&mut self, key: KeyEvent) -> Vec<Action> {
        self.said = None;
        let ctrl = key.modifiers.contains(KeyModifiers::CONTROL);
        if self.dialog.is_some() {
            return self.dialog_key(key);
        }
        match key.code {
            KeyCode::Char('c' | 'q') if ctrl => vec![Action::Quit],
            KeyCode::F(1) => self.ask(Dialog::Help),
            KeyCode::F(2) => match (&self.open, self.selected) {
                (Open::Conversation(id), _) => vec![Action::Why(*id)],
                (_, Some(Entry::Conversation(id))) => vec![Action::Why(id)],
                _ => Vec::new(),
            },
            KeyCode::F(3) if !self.alarms.is_empty() => self.ask(Dialog::Alarms { at: 0 }),
            KeyCode::Char('n') if ctrl => self.step(1, true),
            KeyCode::Char('p') if ctrl => self.step(-1, true),
            KeyCode::PageUp => self.scroll_by(self.page.saturating_sub(1).max(1), true),
            KeyCode::PageDown => self.scroll_by(self.page.saturating_sub(1).max(1), false),
            KeyCode::Tab | KeyCode::BackTab => {
                self.focus = match (self.focus, &self.open) {
                    (Focus::List, Open::Nothing) | (Focus::Pane, _) => Focus::List,
                    (Focus::List, _) => Focus::Pane,
                };
                Vec::new()
            }
            _ => match (self.focus, &self.open) {
                (Focus::List, _) | (_, Open::Nothing) => self.list_key(key),
                (Focus::Pane, Open::Requests) => self.requests_key(key),
                (Focus::Pane, _) => self.composer_key(key),
            },
        }
    }

    /// Takes pasted text.
    pub(crate) fn paste(&mut self, text: &str) {
        let line = || text.lines().collect::<Vec<_>>().join(" ");
        match &mut self.dialog {
            Some(Dialog::Form(form)) if !form.busy => form.fields[form.at].insert(&line()),
            Some(Dialog::Words { answer, .. }) => answer.insert(&line()),
            Some(_) => {}
            None if self.focus == Focus::Pane && matches!(self.open, Open::Conversation(_) | Open::Person(_)) => {
                self.composer.insert(text);
            }
            None => {}
        }
    }

    fn ask(&mut self, dialog: Dialog) -> Vec<Action> {
        self.dialog = Some(dialog);
        Vec::new()
    }

    /// Moves the selection in the list, opening what is there if `open`.
    fn step(&mut self, by: isize, open: bool) -> Vec<Action> {
        let entries = self.entries();
        let at = self.selected.and_then(|entry| entries.iter().position(|e| *e == entry)).unwrap_or(0);
        let at = at.saturating_add_signed(by).min(entries.len() - 1);
        self.selected = Some(entries[at]);
        if open { self.show_selected() } else { Vec::new() }
    }

    fn show_selected(&mut self) -> Vec<Action> {
        match self.selected {
            Some(Entry::Conversation(id)) => self.show(Open::Conversation(id)),
            Some(Entry::Requests) => self.show(Open::Requests),
            None => Vec::new(),
        }
    }

    fn scroll_by(&mut self, lines: usize, up: bool) -> Vec<Action> {
        let Open::Conversation(conversation) = self.open else { return Vec::new() };
        if up {
            if self.pinned.is_none() {
                self.pinned = self.messages.last().map(|m| m.id);
            }
            self.scroll = self.scroll.saturating_add(lines);
            return Vec::new();
        }
        if self.scroll > lines {
            self.scroll -= lines;
            return Vec::new();
        }
        (self.scroll, self.pinned) = (0, None);
        let mut actions = self.seen();
        if self.loaded > PAGE_MESSAGES {
            actions.push(Action::Load { conversation, limit: PAGE_MESSAGES });
        }
        actions
    }

    /// After drawing: reads older messages when the oldest that was read is on the screen.
    pub(crate) fn reached_top(&mut self) -> Option<Action> {
        let Open::Conversation(conversation) = self.open else { return None };
        if !self.at_top || self.pinned.is_none() {
            return None;
        }
        // Off until the answer is here, so that each page is asked for once.
        std::mem::take(&mut self.more)
            .then(|| Action::Load { conversation, limit: (self.loaded + PAGE_MESSAGES).min(MESSAGES_MAX) })
    }

    fn list_key(&mut self, key: KeyEvent) -> Vec<Action> {
        match key.code {
            KeyCode::Down | KeyCode::Char('j') => self.step(1, false),
            KeyCode::Up | KeyCode::Char('k') => self.step(-1, false),
            KeyCode::Home => self.step(isize::MIN, false),
            KeyCode::End => self.step(isize::MAX, false),
            KeyCode::Enter | KeyCode::Right | KeyCode::Char('l') => self.show_selected(),
            KeyCode::Char('n') => self.ask(Dialog::Form(form(FormKind::NewDm))),
            KeyCode::Char('g') => self.ask(Dialog::Form(form(FormKind::NewGroup))),
            KeyCode::Char('r') => self.show(Open::Requests),
            KeyCode::Char('m') => {
                if let Some(Entry::Conversation(id)) = self.selected {
                    let mut actions = self.show(Open::Conversation(id));
                    actions.extend(self.ask(Dialog::Members { conversation: id, at: 0 }));
                    return actions;
                }
                Vec::new()
            }
            KeyCode::Char('?') => self.ask(Dialog::Help),
            KeyCode::Char('q') => vec![Action::Quit],
            _ => Vec::new(),
        }
    }

    fn requests_key(&mut self, key: KeyEvent) -> Vec<Action> {
        let from = self.requests.get(self.request_at).map(|r| r.handle.clone());
        match (key.code, from) {
            (KeyCode::Esc | KeyCode::Left, _) => self.focus = Focus::List,
            (KeyCode::Down | KeyCode::Char('j'), _) => {
                self.request_at = (self.request_at + 1).min(self.requests.len().saturating_sub(1));
            }
            (KeyCode::Up | KeyCode::Char('k'), _) => self.request_at = self.request_at.saturating_sub(1),
            (KeyCode::Char('a') | KeyCode::Enter, Some(from)) => return vec![Action::Accept(from)],
            (KeyCode::Char('d'), Some(from)) => {
                let question = format!("Decline the request of {from}? They are not told.");
                return self.ask(Dialog::Confirm { question, then: Action::Decline(from) });
            }
            (KeyCode::Char('?'), _) => return self.ask(Dialog::Help),
            (KeyCode::Char('q'), _) => return vec![Action::Quit],
            _ => {}
        }
        Vec::new()
    }

    fn composer_key(&mut self, key: KeyEvent) -> Vec<Action> {
        let held = key.modifiers & (KeyModifiers::ALT | KeyModifiers::SHIFT);
        match key.code {
            KeyCode::Esc => self.focus = Focus::List,
            KeyCode::Enter if held.is_empty() => return self.send(),
            KeyCode::Enter => self.composer.insert("\n"),
            KeyCode::Char('j') if key.modifiers.contains(KeyModifiers::CONTROL) => self.composer.insert("\n"),
            KeyCode::Char('g') if key.modifiers.contains(KeyModifiers::CONTROL) => {
                if let Open::Conversation(id) = self.open {
                    return self.ask(Dialog::Members { conversation: id, at: 0 });
                }
            }
            KeyCode::Char('?') if self.composer.is_empty() => return self.ask(Dialog::Help),
            KeyCode::Up if !self.composer.go(Move::Up) => return self.scroll_by(1, true),
            KeyCode::Down if !self.composer.go(Move::Down) => return self.scroll_by(1, false),
            KeyCode::Up | KeyCode::Down => {}
            _ => edit(&mut self.composer, key),
        }
        Vec::new()
    }

    fn send(&mut self) -> Vec<Action> {
        let to = match &self.open {
            Open::Conversation(id) => Target::Conversation(*id),
            Open::Person(handle) => Target::Person(handle.clone()),
            Open::Nothing | Open::Requests => return Vec::new(),
        };
        if self.current().is_some_and(|c| !c.active) {
            self.said = Some("You are no longer in this group.".into());
            return Vec::new();
        }
        let text = self.composer.text().trim_end().to_owned();
        if text.trim().is_empty() {
            return Vec::new();
        }
        if text.len() > TEXT_BYTES_MAX {
            self.said =
                Some(format!("The text has {} bytes, and at most {TEXT_BYTES_MAX} fit. Send it in parts.", text.len()));
            return Vec::new();
        }
        self.composer = Editor::default();
        (self.pinned, self.scroll) = (None, 0);
        vec![Action::Send { to, text: text.into() }]
    }

    // Dialogs

    fn dialog_key(&mut self, key: KeyEvent) -> Vec<Action> {
        let ctrl_c = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
        let Some(dialog) = self.dialog.take() else { return Vec::new() };
        match dialog {
            Dialog::Words { words, ask, answer, warned, .. } => self.words_key(key, ctrl_c, words, ask, answer, warned),
            _ if ctrl_c => vec![Action::Quit],
            Dialog::Help => Vec::new(),
            Dialog::Text { title, lines, at } => match key.code {
                KeyCode::Down | KeyCode::Char('j') => {
                    let at = (at + 1).min(lines.len().saturating_sub(1));
                    self.ask(Dialog::Text { title, lines, at })
                }
                KeyCode::Up | KeyCode::Char('k') => self.ask(Dialog::Text { title, lines, at: at.saturating_sub(1) }),
                _ => Vec::new(),
            },
            Dialog::Alarms { at } => self.alarms_key(key, at),
            Dialog::Form(form) => self.form_key(key, form),
            Dialog::Members { conversation, at } => self.members_key(key, conversation, at),
            Dialog::Confirm { question, then } => match key.code {
                KeyCode::Char('y' | 'Y') => vec![then],
                KeyCode::Char('n' | 'N') | KeyCode::Esc => Vec::new(),
                _ => self.ask(Dialog::Confirm { question, then }),
            },
        }
    }

    fn alarms_key(&mut self, key: KeyEvent, at: usize) -> Vec<Action> {
        let Some(alarm) = self.alarms.get(at) else { return Vec::new() };
        match (key.code, alarm.device) {
            (KeyCode::Char('x'), Some(device)) => {
                let question = format!(
                    "Take the device {device} out of your account? It reads nothing new, and cannot come back."
                );
                self.ask(Dialog::Confirm { question, then: Action::Revoke(device) })
            }
            (KeyCode::Char('d'), _) => {
                let question = "Is this settled? The alarm is put away; its evidence stays.".to_owned();
                let then = Action::Dismiss(alarm.id);
                self.ask(Dialog::Confirm { question, then })
            }
            (KeyCode::Down | KeyCode::Char('j'), _) => self.ask(Dialog::Alarms { at: (at + 1) % self.alarms.len() }),
            (KeyCode::Up | KeyCode::Char('k'), _) => self.ask(Dialog::Alarms { at: at.saturating_sub(1) }),
            _ => Vec::new(),
        }
    }

    fn words_key(
        &mut self,
        key: KeyEvent,
        ctrl_c: bool,
        words: Vec<String>,
        ask: usize,
        mut answer: Editor,
        warned: bool,
    ) -> Vec<Action> {
        if ctrl_c && warned {
            return vec![Action::Quit];
        }
        let mut error = None;
        if ctrl_c {
            error = Some("These words are never shown again. Press Ctrl-C again to leave without them.".into());
        } else if key.code == KeyCode::Enter {
            if words.get(ask).is_some_and(|word| word.eq_ignore_ascii_case(answer.text().trim())) {
                return Vec::new();
            }
            error = Some(format!("That is not word {}. Look again.", ask + 1));
            answer = Editor::default();
        } else {
            edit(&mut answer, key);
        }
        self.ask(Dialog::Words { words, ask, answer, warned: ctrl_c, error })
    }

    fn form_key(&mut self, key: KeyEvent, mut form: Form) -> Vec<Action> {
        if form.busy {
            return self.ask(Dialog::Form(form));
        }
        let last = form.fields.len() - 1;
        match key.code {
            KeyCode::Esc if form.kind == FormKind::SignUp => return vec![Action::Quit],
            KeyCode::Esc => return Vec::new(),
            KeyCode::Tab | KeyCode::Down => form.at = if form.at == last { 0 } else { form.at + 1 },
            KeyCode::BackTab | KeyCode::Up => form.at = form.at.checked_sub(1).unwrap_or(last),
            KeyCode::Enter if form.at < last => form.at += 1,
            KeyCode::Enter => match self.submit(&form) {
                Ok(actions) => {
                    if form.kind == FormKind::SignUp {
                        (form.busy, form.error) = (true, None);
                        self.dialog = Some(Dialog::Form(form));
                    }
                    return actions;
                }
                Err(error) => form.error = Some(error),
            },
            _ => {
                form.error = None;
                edit(&mut form.fields[form.at], key);
            }
        }
        self.ask(Dialog::Form(form))
    }

    fn submit(&mut self, form: &Form) -> Result<Vec<Action>, String> {
        let text = |at: usize| form.fields[at].text().trim().to_owned();
        let handles = |at: usize| -> Result<Vec<Handle>, String> {
            let text = text(at);
            let handles = text
                .split([' ', ',', ';'])
                .filter(|part| !part.is_empty())
                .map(handle)
                .collect::<Result<Vec<_>, _>>()?;
            if handles.is_empty() { Err("Name somebody: @handle, separated by spaces.".into()) } else { Ok(handles) }
        };
        let name = |at: usize| match text(at) {
            name if name.is_empty() => Err("A group needs a name.".to_owned()),
            name if name.len() > GROUP_NAME_BYTES_MAX => {
                Err(format!("The name has {} bytes, and at most {GROUP_NAME_BYTES_MAX} fit.", name.len()))
            }
            name => Ok(name),
        };
        Ok(match form.kind {
            FormKind::SignUp => {
                let server = text(1);
                if server.is_empty() {
                    return Err("Which server? Its address looks like https://chat.example.org".into());
                }
                vec![Action::SignUp { handle: handle(&text(0))?, server }]
            }
            FormKind::NewDm => {
                let handle = handle(&text(0))?;
                if self.me.as_ref().is_some_and(|me| me.handle == handle) {
                    return Err("That is your own handle.".into());
                }
                match self.dm_with(&handle) {
                    Some(id) => self.show(Open::Conversation(id)),
                    None => self.show(Open::Person(handle)),
                }
            }
            FormKind::NewGroup => vec![Action::CreateGroup { name: name(0)?.into(), members: handles(1)? }],
            FormKind::Add(group) => vec![Action::AddMembers { group, members: handles(0)? }],
            FormKind::Rename(group) => vec![Action::Rename { group, name: name(0)?.into() }],
        })
    }

    fn members_key(&mut self, key: KeyEvent, id: ConversationId, at: usize) -> Vec<Action> {
        let Some(conversation) = self.conversation(&id) else { return Vec::new() };
        let (is_group, title, count) = (conversation.is_group, conversation.title.clone(), conversation.members.len());
        let member = conversation.members.get(at).map(|m| (m.handle.clone(), m.role));
        let next = match (key.code, member) {
            (KeyCode::Esc | KeyCode::Char('q' | 'm') | KeyCode::Enter, _) => return self.seen(),
            (KeyCode::Down | KeyCode::Char('j'), _) => {
                Dialog::Members { conversation: id, at: (at + 1).min(count.saturating_sub(1)) }
            }
            (KeyCode::Up | KeyCode::Char('k'), _) => Dialog::Members { conversation: id, at: at.saturating_sub(1) },
            (KeyCode::Char('a' | '+'), _) if is_group => Dialog::Form(form(FormKind::Add(id))),
            (KeyCode::Char('e'), _) if is_group => {
                Dialog::Form(Form { fields: vec![Editor::with(&title)], ..form(FormKind::Rename(id)) })
            }
            (KeyCode::Char('x' | '-') | KeyCode::Delete, Some((member, _))) if is_group => {
                let question = format!("Remove {member} from this group? They cannot read what is written after.");
                Dialog::Confirm { question, then: Action::RemoveMember { group: id, member } }
            }
            (KeyCode::Char('p'), Some((member, role))) if is_group => {
                let (role, what) = match role {
                    Role::Member => (Role::Admin, "an admin, who adds and removes people"),
                    Role::Admin | Role::Owner => (Role::Member, "a member, who writes"),
                };
                Dialog::Confirm {
                    question: format!("Make {member} {what}?"),
                    then: Action::SetRole { group: id, member, role },
                }
            }
            (KeyCode::Char('L'), _) if is_group => {
                let question = "Leave this group? You keep what you have read, and read nothing new.".into();
                Dialog::Confirm { question, then: Action::Leave(id) }
            }
            _ => Dialog::Members { conversation: id, at },
        };
        self.ask(next)
    }
}

/// The editing keys that every field has.
fn edit(editor: &mut Editor, key: KeyEvent) {
    let ctrl = key.modifiers.contains(KeyModifiers::CONTROL);
    let alt = key.modifiers.contains(KeyModifiers::ALT);
    match key.code {
        // Terminals send AltGr characters as Ctrl-Alt; they are typed, not commanded.
        KeyCode::Char(c) if ctrl == alt => editor.insert(c.encode_utf8(&mut [0; 4])),
        KeyCode::Char('a') if ctrl => drop(editor.go(Move::Home)),
        KeyCode::Char('e') if ctrl => drop(editor.go(Move::End)),
        KeyCode::Char('w') if ctrl => editor.delete(Move::WordLeft),
        KeyCode::Char('u') if ctrl => editor.delete(Move::Home),
        KeyCode::Char('k') if ctrl => editor.delete(Move::End),
        KeyCode::Char('h') if ctrl => editor.delete(Move::Left),
        KeyCode::Char('d') if ctrl => editor.delete(Move::Right),
        KeyCode::Char('b') if alt => drop(editor.go(Move::WordLeft)),
        KeyCode::Char('f') if alt => drop(editor.go(Move::WordRight)),
        KeyCode::Char('d') if alt => editor.delete(Move::WordRight),
        KeyCode::Backspace if ctrl || alt => editor.delete(Move::WordLeft),
        KeyCode::Backspace => editor.delete(Move::Left),
        KeyCode::Delete if ctrl || alt => editor.delete(Move::WordRight),
        KeyCode::Delete => editor.delete(Move::Right),
        KeyCode::Left if ctrl || alt => drop(editor.go(Move::WordLeft)),
        KeyCode::Right if ctrl || alt => drop(editor.go(Move::WordRight)),
        KeyCode::Left => drop(editor.go(Move::Left)),
        KeyCode::Right => drop(editor.go(Move::Right)),
        KeyCode::Home => drop(editor.go(Move::Home)),
        KeyCode::End => drop(editor.go(Move::End)),
        _ => {}
    }
}

fn handle(text: &str) -> Result<Handle, String> {
    Handle::parse(text).map_err(|error| format!("{error}."))
}
