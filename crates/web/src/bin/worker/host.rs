//! The worker's life: what it holds, how it answers, what it tells.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use futures_channel::oneshot;
use futures_util::{FutureExt as _, StreamExt as _};
use js_sys::Reflect;
use stonechat_client::{
    self as client, Client, ClientError, Command, CommandError, ConversationId, Handle, KeyChoice, Me, OpenError,
    Outcome, ServerUrl, Target,
};
use stonechat_web::protocol::{
    Ask, Connection, Event, Fault, RecoveryWords, Reply, Request, Settings, Start, Storage, Tell, from_text, to_text,
};
use wasm_bindgen::closure::Closure;
use wasm_bindgen::{JsCast as _, JsValue};
use wasm_bindgen_futures::{JsFuture, spawn_local};
use web_sys::{DedicatedWorkerGlobalScope, MessageEvent};

use crate::convert::{self, client_fault as fault};

/// What the worker holds. One for each worker, for ever.
struct Host {
    client: RefCell<Option<Running>>,
    start: RefCell<Start>,
    /// Asks that wait until what is stored here was opened.
    early: RefCell<Vec<oneshot::Sender<()>>>,
    /// One sign-up or sign-out at a time.
    is_changing: Cell<bool>,
}

/// A client and whose it is.
#[derive(Clone)]
struct Running {
    client: Client,
    me: Me,
}

/// Listens to the pages and opens what is stored here.
pub(crate) fn start() {
    std::panic::set_hook(Box::new(|panic| {
        // Where, and nothing of what.
        let place = panic.location().map(|at| format!("{}:{}", at.file(), at.line())).unwrap_or_default();
        let fault = Fault::Bug { detail: place };
        tell(&Tell::Event(Event::Start(Start::Broken(fault))));
    }));
    let host = Rc::new(Host {
        client: RefCell::default(),
        start: RefCell::new(Start::Opening),
        early: RefCell::default(),
        is_changing: Cell::new(false),
    });
    let listener = Rc::clone(&host);
    let on_message = Closure::<dyn FnMut(MessageEvent)>::new(move |event: MessageEvent| {
        // What is no frame of this version is not answered: the page that sent it is of another, and reloads.
        let Some(Ask { id, request }) = event.data().as_string().as_deref().and_then(from_text) else { return };
        let host = Rc::clone(&listener);
        spawn_local(async move {
            let result = host.answer(request).await;
            tell(&Tell::Reply { id, result });
        });
    });
    scope().set_onmessage(Some(on_message.as_ref().unchecked_ref()));
    // It lives as long as the worker.
    on_message.forget();
    // From now on the worker hears: the page waits for this.
    tell(&Tell::Event(Event::Start(Start::Opening)));
    spawn_local(async move { host.open().await });
}

impl Host {
    /// Opens what is stored here, and says how that went.
    async fn open(self: Rc<Self>) {
        let start = match Client::builder().home(HOME).key(KeyChoice::Auto).open().await {
            Ok(client) => self.run(client).await.unwrap_or_else(Start::Broken),
            Err(OpenError::Home(client::HomeError::Missing { .. }) | OpenError::NoAccount { .. }) => {
                Start::NoAccount { unfinished: None }
            }
            Err(error) => Start::Broken(convert::open_fault(&error)),
        };
        self.say_start(start);
        for early in self.early.take() {
            // Whoever asked may have stopped waiting.
            let _ = early.send(());
        }
    }

    /// Waits until what is stored here was opened, or cannot be.
    async fn opened(&self) {
        if matches!(&*self.start.borrow(), Start::Opening) {
            let (tell, told) = oneshot::channel();
            self.early.borrow_mut().push(tell);
            // The host lives as long as the worker: it is always told.
            let _ = told.await;
        }
    }

    /// Takes a client in, unless the server never confirmed its account.
    async fn run(self: &Rc<Self>, client: Client) -> Result<Start, Fault> {
        let me = client.me().await.map_err(fault)?;
        if !me.registered {
            client.shutdown().await;
            return Ok(Start::NoAccount { unfinished: Some(me.handle) });
        }
        let words_pending = client.recovery_phrase().await.map_err(fault)?.is_some();
        let start = Start::Account { me: me.clone(), words_pending };
        spawn_local(forward(client.clone()));
        *self.client.borrow_mut() = Some(Running { client, me });
        Ok(start)
    }

    fn say_start(&self, start: Start) {
        *self.start.borrow_mut() = start.clone();
        tell(&Tell::Event(Event::Start(start)));
    }

    fn running(&self) -> Result<Running, Fault> {
        self.client.borrow().clone().ok_or_else(|| match &*self.start.borrow() {
            Start::Broken(fault) => fault.clone(),
            Start::Opening | Start::NoAccount { .. } | Start::Account { .. } => CommandError::NoAccount.into(),
        })
    }

    async fn answer(self: &Rc<Self>, request: Request) -> Result<Reply, Fault> {
        // What needs no account.
        let request = match request {
            Request::Start => return Ok(Reply::Start(self.start.borrow().clone())),
            Request::Connection => {
                let running = self.client.borrow().clone();
                let status = running.map(|running| running.client.status());
                return Ok(Reply::Connection(status.as_ref().map_or(Connection::Opening, convert::connection)));
            }
            Request::Storage => return storage().await.map(Reply::Storage),
            Request::SignUp { handle } => return self.alone(self.sign_up(handle)).await,
            Request::SignOut => return self.alone(self.sign_out()).await,
            other => other,
        };
        self.opened().await;
        let Running { client, me } = self.running()?;
        Ok(match request {
            Request::Start | Request::Connection | Request::Storage | Request::SignUp { .. } | Request::SignOut => {
                Reply::Done
            }
            Request::Run(command) => Reply::Outcome(run(&client, command).await?),
            Request::RecoveryWords => match client.recovery_phrase().await.map_err(fault)? {
                Some(phrase) => Reply::Words(words(phrase.danger_words())),
                None => return Err(Fault::WordsForgotten),
            },
            Request::WordsWrittenDown => {
                client.forget_recovery_phrase().await.map_err(fault)?;
                self.say_start(Start::Account { me, words_pending: false });
                Reply::Done
            }
            Request::Me => Reply::Me(me),
            Request::Conversations => Reply::Conversations(client.conversations().await.map_err(fault)?),
            Request::Conversation { id } => Reply::Conversation(client.conversation(id).await.map_err(fault)?),
            Request::Messages { conversation, at, limit } => {
                let mut page = client.page(conversation, at, limit as usize).await.map_err(fault)?;
                // Whichever of two conversations with one person it came through.
                for message in &mut page.messages {
                    message.conversation = conversation;
                }
                Reply::Page(page)
            }
            Request::Search { text, limit } => Reply::Found(client.search(&text, limit as usize).await.map_err(fault)?),
            Request::Open { to } => Reply::Opened(client.find(&to).await.map_err(fault)?),
            Request::Requests => Reply::Requests(client.requests().await.map_err(fault)?),
            Request::SaveDraft { conversation, text } => done(client.save_draft(conversation, text).await)?,
            Request::Why { conversation } => {
                Reply::Why(client.why(&Target::Conversation(conversation)).await.map_err(fault)?)
            }
            Request::Safety { with } => Reply::Safety(client.safety_number(&with).await.map_err(fault)?),
            Request::Devices => Reply::Devices(client.devices().await.map_err(fault)?),
            Request::Alarms => Reply::Alarms(client.alarms().await.map_err(fault)?),
            Request::Settings => Reply::Settings(settings(&client).await?),
            Request::SaveSettings { settings } => {
                client.save_note(SETTINGS, to_text(&settings).into_bytes()).await.map_err(fault)?;
                tell(&Tell::Event(Event::Settings(settings)));
                Reply::Done
            }
        })
    }

    async fn alone(&self, change: impl Future<Output = Result<Reply, Fault>>) -> Result<Reply, Fault> {
        self.opened().await;
        if self.is_changing.replace(true) {
            return Err(Fault::Busy);
        }
        let result = change.await;
        self.is_changing.set(false);
        result
    }

    async fn sign_up(self: &Rc<Self>, handle: Handle) -> Result<Reply, Fault> {
        if let Some(running) = &*self.client.borrow() {
            return Err(Fault::AlreadySignedUp { handle: running.me.handle.clone() });
        }
        let server: ServerUrl = scope()
            .location()
            .origin()
            .parse()
            .map_err(|error: client::AddressError| Fault::Unsupported { detail: error.to_string() })?;
        let (client, phrase) = Client::sign_up_keeping_phrase(HOME, KeyChoice::Auto, handle, &server)
            .await
            .map_err(|error| convert::sign_up_fault(&error))?;
        // Until others can write to it, as far as that is quick: it goes on by itself.
        let _ = client.sync(SETTLE).await;
        let start = self.run(client).await?;
        self.say_start(start);
        Ok(Reply::Words(words(phrase.danger_words())))
    }

    async fn sign_out(self: &Rc<Self>) -> Result<Reply, Fault> {
        let running = self.client.borrow_mut().take();
        match running {
            Some(running) => running.client.danger_erase().await.map_err(fault)?,
            // What cannot be opened can be deleted all the same.
            None => Client::danger_erase_home(HOME).await.map_err(|error| convert::open_fault(&error))?,
        }
        self.say_start(Start::NoAccount { unfinished: None });
        Ok(Reply::Done)
    }
}

/// Tells the pages what the client tells, as it is then. What happens while they are told is told together: a conversation that
/// takes in a hundred messages is described once, not a hundred times.
async fn forward(client: Client) {
    let mut events = client.events();
    tell(&Tell::Event(Event::Connection(convert::connection(&client.status()))));
    while let Some(first) = events.next().await {
        let mut changed = BTreeSet::new();
        let mut requests_changed = false;
        let mut alarms_changed = false;
        let mut next = Some(first);
        while let Some(event) = next.take() {
            match event {
                client::Event::Message(mut message) => {
                    message.conversation = shown(&client, message.conversation).await;
                    changed.insert(message.conversation);
                    tell(&Tell::Event(Event::Message(message)));
                }
                client::Event::Conversation(id) => {
                    changed.insert(shown(&client, id).await);
                }
                client::Event::Requests => requests_changed = true,
                client::Event::Alarm(_) => alarms_changed = true,
                client::Event::Connection(status) => {
                    tell(&Tell::Event(Event::Connection(convert::connection(&status))));
                }
                client::Event::Refused { conversation, what } => {
                    tell(&Tell::Event(Event::Refused { conversation, what }));
                }
                client::Event::Missed(_) => tell(&Tell::Event(Event::Missed)),
            }
            next = events.next().now_or_never().flatten();
        }
        // A vault that cannot be read says so elsewhere, to whoever asks.
        if requests_changed && let Ok(requests) = client.requests().await {
            tell(&Tell::Event(Event::Requests(requests)));
        }
        if alarms_changed && let Ok(alarms) = client.alarms().await {
            tell(&Tell::Event(Event::Alarms(alarms)));
            // An alarm about nobody in particular opens every lock.
            if let Ok(conversations) = client.conversations().await {
                changed.extend(conversations.iter().map(|conversation| conversation.id));
            }
        }
        for id in changed {
            if let Ok(Some(conversation)) = client.conversation(id).await {
                tell(&Tell::Event(Event::Conversation(conversation)));
            }
        }
    }
}

/// The conversation that pages show for this one. If that is another, they are told.
async fn shown(client: &Client, id: ConversationId) -> ConversationId {
    // A vault that cannot be read says so elsewhere, to whoever asks.
    let shown = client.shown(id).await.unwrap_or(id);
    if shown != id {
        tell(&Tell::Event(Event::Replaced { old: id, new: shown }));
    }
    shown
}

/// What a person asked for, and what belongs to it here.
async fn run(client: &Client, command: Command) -> Result<Outcome, Fault> {
    let dismisses = matches!(command, Command::DismissAlarm { .. });
    let outcome = client.run(command).await.map_err(fault)?;
    if let Outcome::Queued { conversation, .. } = outcome
        && client.drafts().await.map_err(fault)?.iter().any(|draft| draft.conversation == conversation)
    {
        client.save_draft(conversation, "").await.map_err(fault)?;
    }
    if dismisses {
        tell(&Tell::Event(Event::Alarms(client.alarms().await.map_err(fault)?)));
    }
    Ok(outcome)
}

async fn settings(client: &Client) -> Result<Settings, Fault> {
    let note = client.note(SETTINGS).await.map_err(fault)?;
    // Settings of another version that cannot be read are no reason to stop: they can be chosen again.
    Ok(note.and_then(|note| from_text(std::str::from_utf8(&note).ok()?)).unwrap_or_default())
}

fn words(phrase: &str) -> RecoveryWords {
    RecoveryWords(phrase.split_whitespace().map(ToOwned::to_owned).collect())
}

fn done(result: Result<(), ClientError>) -> Result<Reply, Fault> {
    result.map(|()| Reply::Done).map_err(fault)
}

/// What the browser says of the place where everything is kept.
async fn storage() -> Result<Storage, Fault> {
    let fail = |_| Fault::NoStorage;
    let manager = scope().navigator().storage();
    let persisted = JsFuture::from(manager.persisted().map_err(fail)?).await.map_err(fail)?;
    let estimate = JsFuture::from(manager.estimate().map_err(fail)?).await.map_err(fail)?;
    let bytes = |name: &str| {
        let bytes = Reflect::get(&estimate, &JsValue::from(name)).ok()?.as_f64()?;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a browser's count of bytes")]
        Some(bytes as u64)
    };
    Ok(Storage { persisted: persisted.is_truthy(), used_bytes: bytes("usage"), quota_bytes: bytes("quota") })
}

fn tell(tell: &Tell) {
    // To a page that is gone: then the worker goes too.
    let _ = scope().post_message(&to_text(tell).into());
}

fn scope() -> DedicatedWorkerGlobalScope {
    js_sys::global().unchecked_into()
}

/// The one account of this browser on this server.
const HOME: &str = "stonechat";
/// For what a new account leaves on the server, so that others can write to it.
const SETTLE: Duration = Duration::from_secs(5);
const SETTINGS: &str = "settings";
