//! What the page knows, and how it hears of changes. Everything here comes from the worker; nothing is kept when the tab closes.

use leptos::prelude::*;
use leptos::task::spawn_local;
use stonechat_api::{Alarm, Command, ContactRequest, Conversation, Message, MessageKey, Outcome, Refusal};
use stonechat_web::protocol::{Connection, Event, Fault, FromReply, Request, Settings, Start, Storage, TabRole, Theme};
use stonechat_web::transport::Worker;
use stonechat_wire::{ConversationId, Handle};
use wasm_bindgen::JsCast as _;
use wasm_bindgen::closure::Closure;

use crate::log::Log;
use crate::text::{LANGUAGES, Words, language};

/// Everything, for all parts of the page. Copies are the same.
#[derive(Clone, Copy)]
pub(crate) struct State {
    worker: StoredValue<Worker, LocalStorage>,
    /// How things are.
    pub(crate) start: RwSignal<Start>,
    /// How things were when this browser was here last.
    pub(crate) last_time: StoredValue<Option<LastTime>>,
    /// How the connections are.
    pub(crate) connection: RwSignal<Connection>,
    /// Whether this tab has the client.
    pub(crate) tab: RwSignal<Option<TabRole>>,
    /// The latest first.
    pub(crate) conversations: RwSignal<Vec<Conversation>>,
    /// They were read once.
    pub(crate) is_loaded: RwSignal<bool>,
    /// Who wants to write.
    pub(crate) requests: RwSignal<Vec<ContactRequest>>,
    /// Everything alarming that was found, what is not dismissed first.
    pub(crate) alarms: RwSignal<Vec<Alarm>>,
    /// Language and theme.
    pub(crate) settings: RwSignal<Settings>,
    /// Where everything is kept.
    pub(crate) storage: RwSignal<Option<Storage>>,
    /// What is open.
    pub(crate) route: RwSignal<Route>,
    /// Whom [`Route::New`] writes to. Not in the address: browsers keep addresses.
    pub(crate) person: RwSignal<Option<Handle>>,
    /// Whom the page waits to hear of, to open what they wrote: somebody whose request was accepted.
    pub(crate) awaited: RwSignal<Option<ConversationId>>,
    /// The dialog that is open.
    pub(crate) dialog: RwSignal<Option<Dialog>>,
    /// What screen readers are to say next.
    pub(crate) said: RwSignal<String>,
    /// What was refused: where, and what.
    pub(crate) refused: RwSignal<Vec<(Option<ConversationId>, Refusal)>>,
    /// The messages of the conversation that is open.
    pub(crate) log: Log,
}

/// What is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// The list alone.
    List,
    /// Who wants to write.
    Requests,
    /// A first message to [`State::person`].
    New,
    /// A conversation.
    Conversation(ConversationId),
}

/// How far somebody came in this browser. One word, outside of the vault, so that the page can begin before that is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LastTime {
    /// The recovery words were not confirmed.
    Words,
    /// There are conversations, or may be.
    App,
}

impl LastTime {
    /// What to keep of it, where this is known: `Some(None)` for nobody.
    #[expect(clippy::option_option, reason = "not known, and known to be nobody, are two things")]
    const fn of(start: &Start) -> Option<Option<Self>> {
        match start {
            Start::NoAccount { .. } => Some(None),
            Start::Account { words_pending: true, .. } => Some(Some(Self::Words)),
            Start::Account { words_pending: false, .. } => Some(Some(Self::App)),
            Start::Opening | Start::Broken(_) => None,
        }
    }

    fn read() -> Option<Self> {
        match window().local_storage().ok()??.get_item(LAST_TIME).ok()??.as_str() {
            "words" => Some(Self::Words),
            "app" => Some(Self::App),
            _ => None,
        }
    }

    fn write(now: Option<Self>) {
        // A browser that keeps nothing here shows the form for a moment next time.
        let Ok(Some(kept)) = window().local_storage() else { return };
        let _ = match now {
            None => kept.remove_item(LAST_TIME),
            Some(Self::Words) => kept.set_item(LAST_TIME, "words"),
            Some(Self::App) => kept.set_item(LAST_TIME, "app"),
        };
    }
}

/// Which dialog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Dialog {
    NewMessage,
    NewGroup,
    Details(ConversationId),
    /// Why its lock is what it is.
    Why(ConversationId),
    /// The safety number with this handle.
    Safety(Handle),
    Alarms,
    Settings,
    SignOut,
}

impl State {
    /// Starts to listen, and asks how things are.
    pub(crate) fn new(worker: Worker) -> Self {
        let state = Self {
            worker: StoredValue::new_local(worker.clone()),
            start: RwSignal::new(Start::Opening),
            last_time: StoredValue::new(LastTime::read()),
            connection: RwSignal::new(Connection::Opening),
            tab: RwSignal::default(),
            conversations: RwSignal::default(),
            is_loaded: RwSignal::new(false),
            requests: RwSignal::default(),
            alarms: RwSignal::default(),
            settings: RwSignal::default(),
            storage: RwSignal::default(),
            route: RwSignal::new(Route::of_address()),
            person: RwSignal::default(),
            awaited: RwSignal::default(),
            dialog: RwSignal::default(),
            said: RwSignal::default(),
            refused: RwSignal::default(),
            log: Log::new(),
        };
        worker.listen(move |event| state.hear(event));
        on_window("hashchange", move || state.route.set(Route::of_address()));
        on_document("visibilitychange", move || state.read_on());
        spawn_local(async move {
            // A fault comes as an event of its own.
            if let Ok(start) = state.ask::<Start>(Request::Start).await {
                state.hear(Event::Start(start));
            }
        });
        state
    }

    /// Asks the worker.
    pub(crate) async fn ask<T: FromReply>(self, request: Request) -> Result<T, Fault> {
        let worker = self.worker.get_value();
        worker.ask(request).await
    }

    /// Does what a person asked for.
    pub(crate) async fn run(self, command: Command) -> Result<Outcome, Fault> {
        self.ask(Request::Run(command)).await
    }

    /// Asks, where nobody waits for the answer and a fault is told elsewhere or matters to nobody.
    pub(crate) fn tell(self, request: Request) {
        spawn_local(async move {
            let _ = self.ask::<()>(request).await;
        });
    }

    /// Asks the browser never to clear what is stored. After something that the person did.
    pub(crate) async fn persist(self) -> bool {
        let worker = self.worker.get_value();
        let agreed = worker.persist().await;
        self.read_storage().await;
        agreed
    }

    pub(crate) async fn read_storage(self) {
        self.storage.set(self.ask(Request::Storage).await.ok());
    }

    /// The language that was chosen, or the browser's.
    pub(crate) fn words(self) -> &'static Words {
        let chosen = self.settings.with(|settings| settings.language.as_deref().and_then(language));
        let browsers = || {
            let tags = window().navigator().languages();
            tags.iter().filter_map(|tag| language(&tag.as_string()?)).next()
        };
        chosen.or_else(browsers).unwrap_or(LANGUAGES[0])
    }

    /// A conversation as it is now; follows its changes.
    pub(crate) fn conversation(self, id: &ConversationId) -> Option<Conversation> {
        self.conversations.with(|all| all.iter().find(|one| one.id == *id).cloned())
    }

    /// What a conversation is, without what changes with each message.
    pub(crate) fn head(self, id: &ConversationId) -> Option<Conversation> {
        self.conversation(id).map(|now| Conversation { last: None, unread: 0, draft: None, ..now })
    }

    /// Opens something.
    pub(crate) fn go(self, route: &Route) {
        // The event that this causes sets the route.
        let _ = window().location().set_hash(&route.address());
    }

    /// Opens the conversation with somebody, or an empty one.
    pub(crate) fn go_to_person(self, handle: Handle, found: Option<ConversationId>) {
        match found {
            Some(id) => self.go(&Route::Conversation(id)),
            None => {
                self.person.set(Some(handle));
                self.go(&Route::New);
            }
        }
    }

    /// Opens a conversation at one of its messages.
    pub(crate) fn go_to_message(self, conversation: ConversationId, key: MessageKey) {
        self.log.open_at(key);
        if self.route.get_untracked() == Route::Conversation(conversation) {
            self.log.open(self, conversation);
        } else {
            self.go(&Route::Conversation(conversation));
        }
    }

    /// What is open and seen is read.
    pub(crate) fn read_on(self) {
        let Route::Conversation(id) = self.route.get_untracked() else { return };
        if !document().hidden() && untrack(|| self.conversation(&id)).is_some_and(|one| one.unread > 0) {
            spawn_local(async move {
                let _ = self.run(Command::MarkRead { conversation: id }).await;
            });
        }
    }

    fn hear(self, event: Event) {
        match event {
            Event::Start(start) => self.start_is(start),
            Event::Message(message) => {
                if !message.is_mine() && !document().hidden() && self.log.is_open(&message.conversation) {
                    self.said.set(crate::message::spoken(&message, untrack(|| self.words())));
                }
                if self.log.take(message) {
                    self.log.to_latest(self);
                }
            }
            Event::Conversation(conversation) => self.conversation_is(conversation),
            Event::Replaced { old, new } => {
                self.conversations.update(|all| all.retain(|one| one.id != old));
                if self.route.get_untracked() == Route::Conversation(old) {
                    let address = Route::Conversation(new).address();
                    let _ = window().location().replace(&format!("#{address}"));
                }
            }
            Event::Requests(requests) => self.requests.set(requests),
            Event::Alarms(alarms) => self.alarms.set(alarms),
            Event::Connection(connection) => {
                if self.connection.with_untracked(|now| *now != connection) {
                    self.connection.set(connection);
                }
            }
            Event::Refused { conversation, what } => self.refused.update(|all| {
                let new = (conversation, what);
                if all.len() < REFUSED_MAX && !all.contains(&new) {
                    all.push(new);
                }
            }),
            Event::Settings(settings) => self.settings.set(settings),
            Event::Tab(role) => self.tab.set(Some(role)),
            Event::Missed => self.read_all(),
        }
    }

    fn start_is(self, start: Start) {
        if start == Start::Opening && self.start.with_untracked(|now| matches!(now, Start::Account { .. })) {
            // This tab takes over from another. What is shown stays until the client says something else.
            return self.connection.set(Connection::Opening);
        }
        let was_same = self.start.with_untracked(|now| *now == start);
        match &start {
            Start::Account { words_pending: false, .. } => self.read_all(),
            Start::NoAccount { .. } => self.forget(),
            Start::Account { .. } | Start::Opening | Start::Broken(_) => {}
        }
        if let Some(now) = LastTime::of(&start) {
            self.last_time.set_value(now);
            LastTime::write(now);
        }
        if !was_same {
            self.start.set(start);
        }
    }

    fn conversation_is(self, conversation: Conversation) {
        let id = conversation.id;
        self.conversations.update(|all| {
            let at = all.iter().position(|one| one.id == conversation.id);
            let last = |one: &Conversation| one.last.as_ref().map(Message::key);
            match at {
                Some(at) if last(&all[at]) == last(&conversation) => all[at] = conversation,
                // What somebody wrote in last comes first.
                Some(at) => {
                    all.remove(at);
                    all.insert(0, conversation);
                }
                None => all.insert(0, conversation),
            }
        });
        if self.awaited.get_untracked().as_ref() == Some(&id) {
            self.awaited.set(None);
            self.go(&Route::Conversation(id));
        } else {
            self.read_on();
        }
    }

    /// Reads everything that is shown.
    fn read_all(self) {
        spawn_local(async move {
            if let Ok(settings) = self.ask(Request::Settings).await {
                self.settings.set(settings);
            }
            if let Ok(conversations) = self.ask(Request::Conversations).await {
                self.conversations.set(conversations);
                self.is_loaded.set(true);
                self.read_on();
            }
            if let Ok(alarms) = self.ask(Request::Alarms).await {
                self.alarms.set(alarms);
            }
            self.log.reload(self);
            if let Ok(requests) = self.ask(Request::Requests).await {
                self.requests.set(requests);
            }
            if let Ok(connection) = self.ask(Request::Connection).await {
                self.hear(Event::Connection(connection));
            }
            self.read_storage().await;
        });
    }

    fn forget(self) {
        self.dialog.set(None);
        self.log.close();
        self.conversations.set(Vec::new());
        self.is_loaded.set(false);
        self.requests.set(Vec::new());
        self.alarms.set(Vec::new());
        self.refused.set(Vec::new());
        self.settings.set(Settings::default());
        self.person.set(None);
        if self.route.get_untracked() != Route::List {
            let _ = window().location().replace("#/");
        }
    }
}

impl Route {
    fn of_address() -> Self {
        let hash = window().location().hash().unwrap_or_default();
        match hash.trim_start_matches("#/") {
            "requests" => Self::Requests,
            "new" => Self::New,
            other => match other.strip_prefix("c/") {
                Some(id) => id.parse().map_or(Self::List, Self::Conversation),
                None => Self::List,
            },
        }
    }

    /// What stands behind the `#`.
    fn address(&self) -> String {
        match self {
            Self::List => "/".into(),
            Self::Requests => "/requests".into(),
            Self::New => "/new".into(),
            Self::Conversation(id) => format!("/c/{id}"),
        }
    }

    /// For a link.
    pub(crate) fn link(&self) -> String {
        format!("#{}", self.address())
    }
}

/// The language of the part of the page where this is called.
pub(crate) fn words() -> &'static Words {
    expect_context()
}

pub(crate) fn state() -> State {
    expect_context()
}

/// As `data-theme` on `<html>`.
pub(crate) fn theme_name(theme: Theme) -> &'static str {
    match theme {
        Theme::System => "system",
        Theme::Light => "light",
        Theme::Dark => "dark",
    }
}

fn on_window(event: &str, act: impl Fn() + 'static) {
    let act = Closure::<dyn Fn()>::new(act);
    let _ = window().add_event_listener_with_callback(event, act.as_ref().unchecked_ref());
    // As long as the tab.
    act.forget();
}

fn on_document(event: &str, act: impl Fn() + 'static) {
    let act = Closure::<dyn Fn()>::new(act);
    let _ = document().add_event_listener_with_callback(event, act.as_ref().unchecked_ref());
    act.forget();
}

/// The name of what is kept of [`LastTime`].
const LAST_TIME: &str = "last-time";
/// A peer that misbehaves all day fills no screen.
const REFUSED_MAX: usize = 20;
