//! The worker's life: what it holds, how it answers, what it tells.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use futures_channel::oneshot;
use futures_util::{FutureExt as _, StreamExt as _};
use js_sys::Reflect;
use stonechat_client::{self as client, Client, KeyChoice, OpenError, ServerUrl};
use stonechat_web::protocol::{
    Ask, Connection, Conversation, Event, Fault, FaultCode, Found, Page, Place, RecoveryWords, Reply, Request, Sent,
    Settings, Start, Storage, Tell, from_text, to_text,
};
use wasm_bindgen::closure::Closure;
use wasm_bindgen::{JsCast as _, JsValue};
use wasm_bindgen_futures::{JsFuture, spawn_local};
use web_sys::{DedicatedWorkerGlobalScope, MessageEvent};

use crate::{convert, trust};

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
    me: client::Me,
}

/// Listens to the pages and opens what is stored here.
pub(crate) fn start() {
    std::panic::set_hook(Box::new(|panic| {
        // Where, and nothing of what.
        let place = panic.location().map(|at| format!(" ({}:{})", at.file(), at.line())).unwrap_or_default();
        let fault = Fault::new(FaultCode::Bug, format!("This is a fault in Stonechat{place}. Reload the page."));
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
            let unfinished = Some(me.handle.to_string());
            client.shutdown().await;
            return Ok(Start::NoAccount { unfinished });
        }
        let words_pending = client.recovery_phrase().await.map_err(fault)?.is_some();
        let start = Start::Account { me: convert::me(&me), words_pending };
        let running = Running { client, me };
        *self.client.borrow_mut() = Some(running.clone());
        spawn_local(forward(running));
        Ok(start)
    }

    fn say_start(&self, start: Start) {
        *self.start.borrow_mut() = start.clone();
        tell(&Tell::Event(Event::Start(start)));
    }

    fn running(&self) -> Result<Running, Fault> {
        self.client.borrow().clone().ok_or_else(|| match &*self.start.borrow() {
            Start::Broken(fault) => fault.clone(),
            Start::Opening | Start::NoAccount { .. } | Start::Account { .. } => {
                Fault::new(FaultCode::NoAccount, "Nobody is signed up here.")
            }
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
            Request::SignUp { handle } => return self.alone(self.sign_up(&handle)).await,
            Request::SignOut => return self.alone(self.sign_out()).await,
            other => other,
        };
        self.opened().await;
        let Running { client, me } = self.running()?;
        let id = convert::conversation_id;
        Ok(match request {
            Request::Start | Request::Connection | Request::Storage | Request::SignUp { .. } | Request::SignOut => {
                Reply::Done
            }
            Request::RecoveryWords => match client.recovery_phrase().await.map_err(fault)? {
                Some(phrase) => Reply::Words(words(phrase.danger_words())),
                None => {
                    let why = "The recovery words were confirmed, and are not kept here any more.";
                    return Err(Fault::new(FaultCode::NotAllowed, why));
                }
            },
            Request::WordsWrittenDown => {
                client.forget_recovery_phrase().await.map_err(fault)?;
                self.say_start(Start::Account { me: convert::me(&me), words_pending: false });
                Reply::Done
            }
            Request::Me => Reply::Me(convert::me(&me)),
            Request::Conversations => Reply::Conversations(conversations(&client, &me).await?),
            Request::Conversation { id: one } => Reply::Conversation(conversation(&client, &me, id(&one)?).await?),
            Request::Messages { conversation, at, limit } => {
                let at = match at {
                    Place::Latest => client::Place::Latest,
                    Place::Before(key) => client::Place::Before(convert::name(&key)?),
                    Place::After(key) => client::Place::After(convert::name(&key)?),
                    Place::Around(key) => client::Place::Around(convert::name(&key)?),
                };
                let asked = id(&conversation)?;
                let page = client.page(asked, at, limit as usize).await.map_err(fault)?;
                // Whichever of two conversations with one person it came through.
                let message = |one| convert::message(client::Message { conversation: asked, ..one }, &me.account);
                let messages = page.messages.into_iter().map(message).collect();
                Reply::Page(Page { messages, older: page.older, newer: page.newer })
            }
            Request::Search { text, limit } => {
                let found = client.search(&text, limit as usize).await.map_err(fault)?;
                Reply::Found(Found {
                    conversations: found.conversations.iter().map(|id| id.to_string().into()).collect(),
                    messages: found.messages.into_iter().map(|one| convert::message(one, &me.account)).collect(),
                    more: found.more,
                })
            }
            Request::Send { to, text } => {
                let sent = client.enqueue(convert::target(&to)?, text.0).await.map_err(fault)?;
                if drafts(&client).await?.contains_key(&sent.conversation) {
                    client.save_draft(sent.conversation, "").await.map_err(fault)?;
                }
                Reply::Sent(Sent {
                    conversation: sent.conversation.to_string().into(),
                    key: convert::key(me.account, sent.message),
                })
            }
            Request::Open { to } => opened(client.find(&convert::target(&to)?).await.map_err(fault)?),
            Request::Requests => Reply::Requests(requests(&client).await?),
            Request::Accept { from } => opened(client.accept(convert::handle(&from)?).await.map_err(fault)?),
            Request::Decline { from } => done(client.decline(convert::handle(&from)?).await)?,
            Request::CreateGroup { name, members } => {
                opened(Some(client.create_group(name.0, convert::handles(&members)?).await.map_err(fault)?))
            }
            Request::AddMembers { group, members } => {
                done(client.add_members(id(&group)?, convert::handles(&members)?).await)?
            }
            Request::RemoveMember { group, member } => {
                done(client.remove_member(id(&group)?, convert::handle(&member)?).await)?
            }
            Request::Leave { group } => done(client.leave(id(&group)?).await)?,
            Request::Rename { group, name } => done(client.rename(id(&group)?, name.0).await)?,
            Request::SetRole { group, member, role } => {
                done(client.set_role(id(&group)?, convert::handle(&member)?, convert::role(role)).await)?
            }
            Request::MarkRead { conversation } => done(client.mark_read(id(&conversation)?).await)?,
            Request::SaveDraft { conversation, text } => done(client.save_draft(id(&conversation)?, text.0).await)?,
            Request::Why { conversation } => {
                let target = client::Target::Conversation(id(&conversation)?);
                Reply::Why(trust::why(client.why(&target).await.map_err(fault)?))
            }
            Request::Safety { with } => {
                Reply::Safety(trust::safety(client.safety_number(&convert::handle(&with)?).await.map_err(fault)?))
            }
            Request::Verify { with, shown } => done(client.verify(&convert::handle(&with)?, shown).await)?,
            Request::Devices => Reply::Devices(trust::devices(&client).await?),
            Request::RevokeDevice { device } => done(client.revoke_device(convert::parse(&device.0)?).await)?,
            Request::Alarms => Reply::Alarms(trust::alarms(&client).await?),
            Request::DismissAlarm { alarm } => {
                client.dismiss_alarm(convert::parse(&alarm.0)?).await.map_err(fault)?;
                tell(&Tell::Event(Event::Alarms(trust::alarms(&client).await?)));
                Reply::Done
            }
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
            return Err(Fault::new(FaultCode::Busy, "One moment: something else is not finished."));
        }
        let result = change.await;
        self.is_changing.set(false);
        result
    }

    async fn sign_up(self: &Rc<Self>, handle: &str) -> Result<Reply, Fault> {
        if let Some(running) = &*self.client.borrow() {
            let handle = running.me.handle.to_string();
            let text = format!("This browser belongs to {handle} already; sign out first.");
            return Err(Fault { code: FaultCode::AlreadySignedUp, text, who: Some(handle) });
        }
        let handle = convert::handle(handle)?;
        let server: ServerUrl = scope().location().origin().parse().map_err(|error: client::AddressError| {
            Fault::new(FaultCode::Unsupported, convert::sentence(&error.to_string()))
        })?;
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
async fn forward(Running { client, me }: Running) {
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
                    tell(&Tell::Event(Event::Message(convert::message(message, &me.account))));
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
                    let conversation = conversation.map(|id| id.to_string().into());
                    tell(&Tell::Event(Event::Refused { conversation, text: convert::sentence(&what) }));
                }
                client::Event::Missed(_) => tell(&Tell::Event(Event::Missed)),
            }
            next = events.next().now_or_never().flatten();
        }
        // A vault that cannot be read says so elsewhere, to whoever asks.
        if requests_changed && let Ok(requests) = requests(&client).await {
            tell(&Tell::Event(Event::Requests(requests)));
        }
        if alarms_changed && let Ok(alarms) = trust::alarms(&client).await {
            tell(&Tell::Event(Event::Alarms(alarms)));
            // An alarm about nobody in particular opens every lock.
            if let Ok(conversations) = client.conversations().await {
                changed.extend(conversations.iter().map(|conversation| conversation.id));
            }
        }
        for id in changed {
            if let Ok(Some(conversation)) = conversation(&client, &me, id).await {
                tell(&Tell::Event(Event::Conversation(conversation)));
            }
        }
    }
}

/// The conversation that pages show for this one. If that is another, they are told.
async fn shown(client: &Client, id: client::ConversationId) -> client::ConversationId {
    // A vault that cannot be read says so elsewhere, to whoever asks.
    let shown = client.shown(id).await.unwrap_or(id);
    if shown != id {
        tell(&Tell::Event(Event::Replaced { old: id.to_string().into(), new: shown.to_string().into() }));
    }
    shown
}

async fn conversations(client: &Client, me: &client::Me) -> Result<Vec<Conversation>, Fault> {
    let mut drafts = drafts(client).await?;
    let all = client.conversations().await.map_err(fault)?;
    Ok(all
        .into_iter()
        .map(|one| {
            let draft = drafts.remove(&one.id);
            convert::conversation(one, &me.account, draft)
        })
        .collect())
}

async fn conversation(
    client: &Client,
    me: &client::Me,
    id: client::ConversationId,
) -> Result<Option<Conversation>, Fault> {
    let Some(found) = client.conversation(id).await.map_err(fault)? else { return Ok(None) };
    let draft = drafts(client).await?.remove(&id);
    Ok(Some(convert::conversation(found, &me.account, draft)))
}

async fn drafts(client: &Client) -> Result<BTreeMap<client::ConversationId, String>, Fault> {
    let drafts = client.drafts().await.map_err(fault)?;
    Ok(drafts.into_iter().map(|draft| (draft.conversation, draft.text)).collect())
}

async fn requests(client: &Client) -> Result<Vec<stonechat_web::protocol::ContactRequest>, Fault> {
    Ok(client.requests().await.map_err(fault)?.iter().map(convert::request).collect())
}

async fn settings(client: &Client) -> Result<Settings, Fault> {
    let note = client.note(SETTINGS).await.map_err(fault)?;
    // Settings of another version that cannot be read are no reason to stop: they can be chosen again.
    Ok(note.and_then(|note| from_text(std::str::from_utf8(&note).ok()?)).unwrap_or_default())
}

fn words(phrase: &str) -> RecoveryWords {
    RecoveryWords(phrase.split_whitespace().map(ToOwned::to_owned).collect())
}

fn opened(id: Option<client::ConversationId>) -> Reply {
    Reply::Opened(id.map(|id| id.to_string().into()))
}

fn done(result: Result<(), client::ClientError>) -> Result<Reply, Fault> {
    result.map(|()| Reply::Done).map_err(fault)
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err asks for")]
fn fault(error: client::ClientError) -> Fault {
    convert::client_fault(&error)
}

/// What the browser says of the place where everything is kept.
async fn storage() -> Result<Storage, Fault> {
    let fail = |_| Fault::new(FaultCode::NoStorage, "This browser does not say how it keeps what is stored.");
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
