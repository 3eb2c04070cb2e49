//! The messages of the open conversation: a stretch of them around what is in view. Scrolling to its ends fetches more there and
//! lets go of what is far away, so that a conversation of any length costs the same.

use leptos::prelude::*;
use leptos::task::spawn_local;
use stonechat_api::{Body, Message, MessageKey, Page, Place, Status};
use stonechat_web::protocol::{Fault, Request};
use stonechat_web::view::days::{Day, Stamp};
use stonechat_wire::{AccountId, ConversationId};
use web_sys::Element;

use crate::clock;
use crate::state::State;

/// The stretch that is shown. Copies are the same.
#[derive(Clone, Copy)]
pub(crate) struct Log {
    conversation: RwSignal<Option<ConversationId>>,
    messages: RwSignal<Vec<Message>>,
    /// How many there are before and after those.
    older: RwSignal<u64>,
    newer: RwSignal<u64>,
    /// The first that was not read when it was opened.
    unread_from: RwSignal<Option<MessageKey>>,
    /// What a search found: shown when the conversation opens, and marked from then on.
    seek: StoredValue<Option<MessageKey>>,
    sought: RwSignal<Option<MessageKey>>,
    /// What arrived below what is in view.
    pub(crate) fresh: RwSignal<u64>,
    /// The first page is there, whatever it holds.
    pub(crate) is_ready: RwSignal<bool>,
    /// Why there are no messages to see.
    pub(crate) fault: RwSignal<Option<Fault>>,
    /// Whether the end is in view.
    pub(crate) is_at_end: RwSignal<bool>,
    /// The next frame scrolls to the end: until then, what the view measures is not where the reader is.
    is_bound_for_end: StoredValue<bool>,
    is_fetching: StoredValue<bool>,
    /// What came while a page was fetched: the page may be older.
    arrived: StoredValue<Vec<Message>>,
    /// Answers for what was open before are dropped.
    opened: StoredValue<u64>,
}

/// A message, and how it hangs together with its neighbours.
#[derive(Clone, PartialEq)]
pub(crate) struct Row {
    pub(crate) message: Message,
    /// A line with the date stands before it.
    pub(crate) day: Option<Day>,
    /// A line says that from here on nothing was read.
    pub(crate) is_unread_from: bool,
    /// First and last of a group of bubbles.
    pub(crate) is_first: bool,
    pub(crate) is_last: bool,
    /// A search led to it.
    pub(crate) is_sought: bool,
}

impl Row {
    /// What makes a row another one, to be drawn again.
    pub(crate) fn identity(&self) -> (MessageKey, u8, [bool; 5]) {
        let flags = [self.day.is_some(), self.is_unread_from, self.is_first, self.is_last, self.is_sought];
        (self.message.key(), self.message.status as u8, flags)
    }
}

/// Where the view goes when a page is drawn.
enum View {
    End,
    Unread,
    At(MessageKey),
}

impl Log {
    pub(crate) fn new() -> Self {
        Self {
            conversation: RwSignal::default(),
            messages: RwSignal::default(),
            older: RwSignal::default(),
            newer: RwSignal::default(),
            unread_from: RwSignal::default(),
            seek: StoredValue::new(None),
            sought: RwSignal::default(),
            fresh: RwSignal::default(),
            is_ready: RwSignal::new(false),
            fault: RwSignal::default(),
            is_at_end: RwSignal::new(true),
            is_bound_for_end: StoredValue::new(false),
            is_fetching: StoredValue::new(false),
            arrived: StoredValue::default(),
            opened: StoredValue::new(0),
        }
    }

    /// The next conversation that opens is to show this message.
    pub(crate) fn open_at(self, key: MessageKey) {
        self.seek.set_value(Some(key));
    }

    pub(crate) fn is_open(self, conversation: &ConversationId) -> bool {
        self.conversation.with_untracked(|open| open.as_ref() == Some(conversation))
    }

    /// Shows a conversation: its end, the first unread message, or what a search found.
    pub(crate) fn open(self, state: State, conversation: ConversationId) {
        let unread = untrack(|| state.conversation(&conversation)).map_or(0, |one| one.unread);
        if !self.is_open(&conversation) {
            self.close();
            self.conversation.set(Some(conversation));
        }
        let seek = self.seek.try_update_value(Option::take).flatten();
        self.sought.set(seek);
        match seek {
            Some(key) => self.show(state, Place::Around(key), View::At(key), 0),
            None => self.show(state, Place::Latest, View::Unread, unread),
        }
    }

    /// Reads what is shown once more: something may have been missed.
    pub(crate) fn reload(self, state: State) {
        if self.conversation.with_untracked(Option::is_some) && self.newer.get_untracked() == 0 {
            self.show(state, Place::Latest, View::End, 0);
        }
    }

    /// Goes to the end.
    pub(crate) fn to_latest(self, state: State) {
        self.fresh.set(0);
        if self.newer.get_untracked() == 0 {
            scroll_to_end();
        } else {
            self.show(state, Place::Latest, View::End, 0);
        }
    }

    pub(crate) fn close(self) {
        self.opened.update_value(|opened| *opened += 1);
        self.is_fetching.set_value(false);
        self.conversation.set(None);
        self.messages.set(Vec::new());
        self.older.set(0);
        self.newer.set(0);
        self.unread_from.set(None);
        self.fresh.set(0);
        self.fault.set(None);
        self.is_ready.set(false);
        self.is_bound_for_end.set_value(false);
        self.is_at_end.set(true);
    }

    /// A message is new, or its status changed. Says whether the reader wants to see it and the end is not among the rows.
    pub(crate) fn take(self, message: Message) -> bool {
        if !self.is_open(&message.conversation) {
            return false;
        }
        if self.is_fetching.get_value() {
            self.arrived.update_value(|all| all.push(message.clone()));
        }
        let known = self.messages.with_untracked(|all| all.iter().rposition(|one| one.key() == message.key()));
        if let Some(at) = known {
            self.messages.update(|all| all[at] = message);
            return false;
        }
        let is_new = matches!(message.status, Status::Queued | Status::Received);
        let has_end = self.newer.get_untracked() == 0;
        let is_before =
            self.messages.with_untracked(|all| all.first().is_some_and(|first| message.sent_at < first.sent_at));
        if !is_new && (!has_end || is_before) {
            // Its status changed, and it is not among the rows.
            return false;
        }
        let follows = message.is_mine() || self.is_at_end.get_untracked();
        let has_room = self.messages.with_untracked(Vec::len) < 2 * ROWS_MAX;
        if has_end && (follows || has_room) {
            self.messages.update(|all| all.push(message));
            if follows {
                self.drop_front();
                self.follow_end();
                return false;
            }
        } else {
            self.newer.update(|newer| *newer += 1);
        }
        self.fresh.update(|fresh| *fresh += 1);
        follows
    }

    /// Scrolls to the end with the next frame, once for all that arrives until then.
    fn follow_end(self) {
        if self.is_bound_for_end.get_value() {
            return;
        }
        self.is_bound_for_end.set_value(true);
        after_draw(move || {
            // Unless the reader turned back meanwhile, or left.
            if self.is_bound_for_end.try_update_value(std::mem::take) == Some(true) {
                scroll_to_end();
            }
        });
    }

    /// The reader turns back from the end: what arrives does not hold them there.
    pub(crate) fn turn_back(self) {
        if self.is_bound_for_end.try_update_value(std::mem::take) == Some(true) {
            self.is_at_end.set(false);
        }
    }

    /// The view was scrolled, or its size changed.
    pub(crate) fn scrolled(self, state: State) {
        // Between a row that was added and the frame that shows it, the end seems to be out of view.
        if self.is_bound_for_end.get_value() {
            return;
        }
        let Some(view) = view() else { return };
        let above = view.scroll_top();
        let below = view.scroll_height() - above - view.client_height();
        let is_at_end = self.newer.get_untracked() == 0 && below < AT_END_PX;
        if self.is_at_end.get_untracked() != is_at_end {
            self.is_at_end.set(is_at_end);
        }
        if is_at_end && self.fresh.get_untracked() > 0 {
            self.fresh.set(0);
        }
        if above < FETCH_PX && self.older.get_untracked() > 0 {
            self.fetch(state, true);
        } else if below < FETCH_PX && self.newer.get_untracked() > 0 {
            self.fetch(state, false);
        }
    }

    /// The rows to draw.
    pub(crate) fn rows(self) -> Vec<Row> {
        let unread_from = self.unread_from.get();
        let sought = self.sought.get();
        self.messages.with(|messages| {
            let stamps: Vec<_> = messages.iter().map(stamp).collect();
            let is_unread_from = |at: usize| messages.get(at).is_some_and(|one| Some(one.key()) == unread_from);
            let goes_on = |at: usize| {
                at > 0 && stamps.get(at).is_some_and(|one| one.goes_on(stamps.get(at - 1))) && !is_unread_from(at)
            };
            let row = |(at, message): (usize, &Message)| Row {
                day: stamps[at].starts_day(at.checked_sub(1).map(|before| &stamps[before])).then_some(stamps[at].day),
                is_unread_from: is_unread_from(at),
                is_first: !goes_on(at),
                is_last: !goes_on(at + 1),
                is_sought: sought == Some(message.key()),
                message: message.clone(),
            };
            messages.iter().enumerate().map(row).collect()
        })
    }

    /// Whether the first message is among the rows.
    pub(crate) fn has_start(self) -> bool {
        self.older.get() == 0
    }

    fn show(self, state: State, at: Place, view: View, unread: u64) {
        let Some(conversation) = self.conversation.get_untracked() else { return };
        self.opened.update_value(|opened| *opened += 1);
        let opened = self.opened.get_value();
        self.is_fetching.set_value(true);
        self.arrived.set_value(Vec::new());
        // All that is unread, as far as that is drawn at once, and some before it.
        let limit = u32::try_from(unread).unwrap_or(u32::MAX).saturating_add(PAGE / 2).clamp(PAGE, UNREAD_PAGE_MAX);
        spawn_local(async move {
            let page = state.ask::<Page>(Request::Messages { conversation, at, limit }).await;
            if self.opened.get_value() != opened {
                return;
            }
            self.is_fetching.set_value(false);
            match page {
                Ok(page) => {
                    if unread > 0 {
                        let mut theirs = page.messages.iter().rev().filter(|one| !one.is_mine());
                        // Where it starts among those that are not fetched yet, there is no line.
                        let first = usize::try_from(unread - 1).ok().and_then(|at| theirs.nth(at));
                        self.unread_from.set(first.map(Message::key));
                    }
                    self.older.set(page.older);
                    self.newer.set(page.newer);
                    self.messages.set(page.messages);
                    self.take_arrived();
                    self.fault.set(None);
                }
                Err(fault) => self.fault.set(Some(fault)),
            }
            self.is_ready.set(true);
            after_draw(move || {
                match view {
                    View::End => scroll_to_end(),
                    View::Unread => {
                        scroll_to_end();
                        show_row("unread-from", "start");
                    }
                    View::At(key) => show_row(&row_id(&key), "center"),
                }
                self.scrolled(state);
            });
            state.read_on();
        });
    }

    fn fetch(self, state: State, older: bool) {
        let Some(conversation) = self.conversation.get_untracked() else { return };
        let edge = self.messages.with_untracked(|all| {
            let edge = if older { all.first() } else { all.last() };
            edge.map(Message::key)
        });
        let Some(edge) = edge else { return };
        if self.is_fetching.get_value() {
            return;
        }
        self.is_fetching.set_value(true);
        self.arrived.set_value(Vec::new());
        let opened = self.opened.get_value();
        let at = if older { Place::Before(edge) } else { Place::After(edge) };
        spawn_local(async move {
            let page = state.ask::<Page>(Request::Messages { conversation, at, limit: PAGE }).await;
            if self.opened.get_value() != opened {
                return;
            }
            self.is_fetching.set_value(false);
            // A page that cannot be read is asked for again with the next scrolling.
            let Ok(Page { messages, older: before, newer: after }) = page else { return };
            let stays = self.is_at_end.get_untracked();
            let kept = anchor();
            if older {
                self.messages.update(|all| {
                    all.splice(0..0, messages);
                });
                self.older.set(before);
                self.drop_back();
            } else {
                self.messages.update(|all| all.extend(messages));
                self.newer.set(after);
                self.take_arrived();
                self.drop_front();
            }
            after_draw(move || {
                match kept {
                    _ if stays && self.newer.get_untracked() == 0 => scroll_to_end(),
                    Some((row, top)) => keep(&row, top),
                    None => {}
                }
                self.scrolled(state);
            });
        });
    }

    fn take_arrived(self) {
        let arrived = self.arrived.try_update_value(std::mem::take).unwrap_or_default();
        let is_end = self.newer.get_untracked() == 0;
        self.messages.update(|all| {
            for message in arrived {
                match all.iter().rposition(|one| one.key() == message.key()) {
                    Some(at) => all[at] = message,
                    None if is_end => all.push(message),
                    None => {}
                }
            }
        });
    }

    fn drop_front(self) {
        let over = self.messages.with_untracked(Vec::len).saturating_sub(ROWS_MAX);
        if over > 0 {
            self.messages.update(|all| drop(all.drain(..over)));
            self.older.update(|older| *older += over as u64);
        }
    }

    fn drop_back(self) {
        let over = self.messages.with_untracked(Vec::len).saturating_sub(ROWS_MAX);
        if over > 0 {
            self.messages.update(|all| all.truncate(ROWS_MAX));
            self.newer.update(|newer| *newer += over as u64);
        }
    }
}

/// The id of a message's row in the document.
pub(crate) fn row_id(key: &MessageKey) -> String {
    let sender = key.sender.to_string();
    format!("m-{}-{}", &sender[..16], key.id)
}

fn stamp(message: &Message) -> Stamp<Option<AccountId>> {
    // What was noticed about somebody is not theirs.
    let sender = (!matches!(message.body, Body::Notice(_))).then_some(message.sender);
    Stamp { sender, at_ms: message.sent_at.0, day: clock::day(message.sent_at.0) }
}

fn view() -> Option<Element> {
    document().get_element_by_id(VIEW)
}

/// Before the browser paints, and after what changed is drawn.
fn after_draw(act: impl FnOnce() + 'static) {
    request_animation_frame(act);
}

pub(crate) fn scroll_to_end() {
    if let Some(view) = view() {
        view.set_scroll_top(view.scroll_height());
    }
}

/// Scrolls a row to the view's start or centre.
fn show_row(id: &str, at: &str) {
    let (Some(view), Some(row)) = (view(), document().get_element_by_id(id)) else { return };
    let (frame, place) = (view.get_bounding_client_rect(), row.get_bounding_client_rect());
    let room = if at == "center" { (frame.height() - place.height()) / 2.0 } else { 12.0 };
    scroll_by(&view, place.top() - frame.top() - room.max(0.0));
}

/// The first row in view, and where it is.
fn anchor() -> Option<(String, f64)> {
    let top = view()?.get_bounding_client_rect().top();
    let rows = document().get_elements_by_class_name("bubble");
    let seen =
        (0..rows.length()).filter_map(|at| rows.item(at)).find(|row| row.get_bounding_client_rect().bottom() > top)?;
    Some((seen.id(), seen.get_bounding_client_rect().top()))
}

/// Scrolls so that a row is where it was.
fn keep(row: &str, top: f64) {
    if let (Some(view), Some(row)) = (view(), document().get_element_by_id(row)) {
        scroll_by(&view, row.get_bounding_client_rect().top() - top);
    }
}

#[expect(clippy::cast_possible_truncation, reason = "pixels on a screen")]
fn scroll_by(view: &Element, pixels: f64) {
    view.set_scroll_top(view.scroll_top() + pixels.round() as i32);
}

/// The id of the element that scrolls.
pub(crate) const VIEW: &str = "log";
/// Messages that are fetched at once.
const PAGE: u32 = 50;
/// Messages that are fetched when a conversation opens with many unread.
const UNREAD_PAGE_MAX: u32 = 120;
/// Messages that are in the document, and as many again that arrive while one reads above them.
const ROWS_MAX: usize = 150;
/// So close to an end of the rows, more are fetched.
const FETCH_PX: i32 = 900;
const AT_END_PX: i32 = 48;
