//! The full-screen interface: a loop between the terminal, the SDK and the pure [`state`] that [`view`] draws.
//!
//! One task owns the state. What a key asks for runs in tasks of its own and comes back as news on a bounded channel; texts
//! are sent by one of them, in the order in which they were written. The terminal is restored whatever ends the process short of
//! SIGKILL.

mod editor;
mod state;
#[cfg(test)]
pub(crate) mod testing;
mod view;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crossterm::event::{
    DisableBracketedPaste, EnableBracketedPaste, Event as TerminalEvent, EventStream, KeyEventKind,
};
use crossterm::execute;
use crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode};
use futures_util::{FutureExt as _, Stream, StreamExt as _};
use jiff::tz::TimeZone;
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use stonechat_client::{Client, ClientError, Event, Handle, KeyChoice, Lock, ServerUrl, Target, Text, words};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::commands;
use crate::error::{Exit, Failure};
use state::{Action, App, Connection, News, Open};
use view::Clock;
pub(crate) use view::Theme;

/// Runs until the person leaves or the process is asked to end.
///
/// # Errors
/// When the home cannot be opened or the terminal cannot be used.
pub(crate) async fn run(home: &Path, theme: Theme) -> Result<(), Failure> {
    // Before the screen: this may ask for a passphrase, or say why not.
    let client = match commands::open(home).await {
        Ok(client) => Some(client),
        Err(failure) if failure.code == "no_account" => None,
        Err(failure) => return Err(failure),
    };
    let screen = Screen::enter()?;
    let (news, arrivals) = mpsc::channel(NEWS_MAX);
    let mut shell = Shell {
        home: home.to_owned(),
        app: App::default(),
        client: None,
        news,
        texts: None,
        tasks: JoinSet::new(),
        stale: false,
        reading: false,
    };
    match client {
        Some(client) => shell.start(client).await?,
        None => shell.app.offer_sign_up(),
    }
    let result = shell.talk(arrivals, theme, screen).await;
    if let Some(client) = shell.client.take() {
        shell.tasks.abort_all();
        client.shutdown().await;
    }
    result
}

struct Shell {
    home: PathBuf,
    app: App,
    client: Option<Client>,
    news: mpsc::Sender<Arrival>,
    /// Texts on their way, in order.
    texts: Option<mpsc::Sender<(Target, Text)>>,
    tasks: JoinSet<()>,
    /// What is shown is older than the vault.
    stale: bool,
    /// The vault is being read.
    reading: bool,
}

/// What a task sends back.
enum Arrival {
    News(News),
    /// An account was made here.
    Client(Client),
    /// The vault was read.
    Read,
}

type Events = Box<dyn Stream<Item = Event> + Send + Unpin>;

impl Shell {
    /// There is an account: show it.
    async fn start(&mut self, client: Client) -> Result<(), Failure> {
        let me = client.me().await?;
        self.app.news(News::Me(me));
        let (texts, mut queue) = mpsc::channel::<(Target, Text)>(TEXTS_MAX);
        self.texts = Some(texts);
        let (sender, news) = (client.clone(), self.news.clone());
        self.tasks.spawn(async move {
            while let Some((to, text)) = queue.recv().await {
                let answer = match (sender.enqueue(to.clone(), text.clone()).await, to) {
                    (Ok(sent), Target::Person(person)) => News::Reached { person, conversation: sent.conversation },
                    (Ok(_), Target::Conversation(_)) => continue,
                    (Err(error), to) => News::Unsent { to, text, why: error.to_string() },
                };
                if news.send(Arrival::News(answer)).await.is_err() {
                    return;
                }
            }
        });
        self.client = Some(client);
        self.stale = true;
        Ok(())
    }

    async fn talk(
        &mut self,
        mut arrivals: mpsc::Receiver<Arrival>,
        theme: Theme,
        mut screen: Screen,
    ) -> Result<(), Failure> {
        let mut keys = self.keys();
        let mut events: Events = self.events();
        let mut stop = std::pin::pin!(crate::stop_asked());
        let mut minute = tokio::time::interval(Duration::from_secs(30));
        loop {
            self.refresh();
            self.draw(&mut screen, theme)?;
            if let Some(action) = self.app.reached_top() {
                self.act(action);
            }
            tokio::select! {
                () = &mut stop => return Ok(()),
                key = keys.recv() => {
                    let Some(key) = key else { return Ok(()) };
                    if self.terminal(key?) {
                        return Ok(());
                    }
                    // A paste without brackets comes as many keys: draw once.
                    while let Ok(key) = keys.try_recv() {
                        if self.terminal(key?) {
                            return Ok(());
                        }
                    }
                }
                event = events.next() => {
                    self.event(event);
                    for _ in 0..EVENTS_A_FRAME {
                        match events.next().now_or_never() {
                            Some(Some(event)) => self.event(Some(event)),
                            Some(None) | None => break,
                        }
                    }
                }
                Some(arrival) = arrivals.recv() => match arrival {
                    Arrival::News(news) => self.news(news),
                    Arrival::Read => self.reading = false,
                    Arrival::Client(client) => {
                        self.start(client).await?;
                        events = self.events();
                    }
                },
                Some(ended) = self.tasks.join_next(), if !self.tasks.is_empty() => {
                    if let Err(error) = ended && error.is_panic() {
                        return Err(Failure::new("bug", Exit::Unexpected, format!("this is a fault in Stonechat: {error}")));
                    }
                }
                _ = minute.tick() => {}
            }
        }
    }

    /// What the terminal says, on a channel: the stream itself must always be polled by the same task.
    fn keys(&mut self) -> mpsc::Receiver<io::Result<TerminalEvent>> {
        let (sender, receiver) = mpsc::channel(KEYS_MAX);
        self.tasks.spawn(async move {
            let mut terminal = EventStream::new();
            while let Some(event) = terminal.next().await {
                if sender.send(event).await.is_err() {
                    return;
                }
            }
        });
        receiver
    }

    fn events(&mut self) -> Events {
        match &self.client {
            Some(client) => {
                self.app.news(News::Connection(connection(client)));
                Box::new(client.events())
            }
            None => Box::new(futures_util::stream::pending()),
        }
    }

    fn draw(&mut self, screen: &mut Screen, theme: Theme) -> Result<(), Failure> {
        let zone = TimeZone::system();
        let today = jiff::Timestamp::now().to_zoned(zone.clone()).date();
        screen.terminal.draw(|frame| view::render(&mut self.app, theme, &Clock { zone, today }, frame))?;
        Ok(())
    }

    /// What the terminal says; `true` for the end.
    fn terminal(&mut self, event: TerminalEvent) -> bool {
        let actions = match event {
            TerminalEvent::Key(key) if key.kind != KeyEventKind::Release => self.app.key(key),
            TerminalEvent::Paste(text) => {
                self.app.paste(&text);
                Vec::new()
            }
            _ => Vec::new(),
        };
        actions.into_iter().any(|action| self.act(action))
    }

    fn event(&mut self, event: Option<Event>) {
        match event {
            Some(Event::Message(message)) => {
                self.stale = true;
                self.news(News::Message(message));
            }
            Some(Event::Conversation(_) | Event::Requests | Event::Missed(_)) => self.stale = true,
            Some(Event::Connection(_)) => {
                if let Some(client) = &self.client {
                    let connection = connection(client);
                    self.news(News::Connection(connection));
                }
            }
            Some(Event::Refused { what, .. }) => self.news(News::Said(words::sentence(&what.to_string()))),
            Some(Event::Alarm(_)) => self.stale = true,
            None => self.news(News::Connection(Connection::Offline("Stonechat has stopped; start it again".into()))),
        }
    }

    fn news(&mut self, news: News) {
        for action in self.app.news(news) {
            self.act(action);
        }
    }

    /// Reads what is shown from the vault again, if it changed. One reading at a time: what changes meanwhile waits for the next.
    fn refresh(&mut self) {
        let Some(client) = self.client.clone().filter(|_| self.stale && !self.reading) else { return };
        (self.stale, self.reading) = (false, true);
        let news = self.news.clone();
        let open = match self.app.open {
            Open::Conversation(id) => Some((id, self.app.loaded.max(state::PAGE_MESSAGES))),
            Open::Nothing | Open::Requests | Open::Person(_) => None,
        };
        self.tasks.spawn(async move {
            let mut found = Vec::new();
            let read = async {
                found.push(News::Conversations(client.conversations().await?));
                found.push(News::Requests(client.requests().await?));
                found.push(News::Alarms(client.alarms().await?));
                if let Some((conversation, limit)) = open {
                    let messages = client.messages(conversation, None, limit).await?;
                    found.push(News::Messages { conversation, messages, limit });
                }
                Ok::<_, ClientError>(())
            };
            if let Err(error) = read.await {
                found.push(News::Said(error.to_string()));
            }
            for item in found {
                // The loop is gone: so is the reason to read.
                let _ = news.send(Arrival::News(item)).await;
            }
            let _ = news.send(Arrival::Read).await;
        });
    }

    /// Performs one action; `true` for the end.
    fn act(&mut self, action: Action) -> bool {
        let news = self.news.clone();
        if let Action::SignUp { handle, server } = action {
            let home = self.home.clone();
            self.tasks.spawn(async move { sign_up(home, handle, server, news).await });
            return false;
        }
        if action == Action::Quit {
            return true;
        }
        let Some(client) = self.client.clone() else { return false };
        if let Action::Send { to, text } = action {
            if let Some(Err(refused)) = self.texts.as_ref().map(|texts| texts.try_send((to, text))) {
                let (to, text) = refused.into_inner();
                self.news(News::Unsent {
                    to,
                    text,
                    why: "Too many messages wait already; try again in a moment.".into(),
                });
            }
            return false;
        }
        self.tasks.spawn(async move {
            let answer = match perform(&client, action).await {
                Ok(answer) => answer,
                Err(error) => Some(News::Said(error.to_string())),
            };
            if let Some(answer) = answer {
                // The loop is gone: nobody is there to be told.
                let _ = news.send(Arrival::News(answer)).await;
            }
        });
        false
    }
}

async fn perform(client: &Client, action: Action) -> Result<Option<News>, ClientError> {
    Ok(match action {
        Action::Load { conversation, limit } => {
            let messages = client.messages(conversation, None, limit).await?;
            Some(News::Messages { conversation, messages, limit })
        }
        Action::MarkRead(conversation) => {
            client.mark_read(conversation).await?;
            None
        }
        Action::Accept(from) => match client.accept(from.clone()).await? {
            Some(id) => Some(News::Opened(id)),
            None => Some(News::Said(format!("Accepted {from}; the conversation appears in a moment."))),
        },
        Action::Decline(from) => {
            client.decline(from).await?;
            Some(News::Said("Declined.".into()))
        }
        Action::CreateGroup { name, members } => Some(News::Opened(client.create_group(name, members).await?)),
        Action::AddMembers { group, members } => {
            client.add_members(group, members).await?;
            None
        }
        Action::RemoveMember { group, member } => {
            client.remove_member(group, member).await?;
            None
        }
        Action::SetRole { group, member, role } => {
            client.set_role(group, member, role).await?;
            None
        }
        Action::Rename { group, name } => {
            client.rename(group, name).await?;
            None
        }
        Action::Leave(group) => {
            client.leave(group).await?;
            None
        }
        Action::Why(conversation) => {
            let why = client.why(&Target::Conversation(conversation)).await?;
            let title = match why.lock() {
                Lock::Closed => "Why is this lock closed?",
                Lock::Open(_) => "Why is this lock open?",
            };
            Some(News::Why { title: title.to_owned(), lines: crate::trust::why_lines(&why) })
        }
        Action::Revoke(device) => {
            client.revoke_device(device).await?;
            Some(News::Said("Revoked.".into()))
        }
        Action::Dismiss(alarm) => {
            client.dismiss_alarm(alarm).await?;
            Some(News::Alarms(client.alarms().await?))
        }
        Action::Send { .. } | Action::SignUp { .. } | Action::Quit => None,
    })
}

async fn sign_up(home: PathBuf, handle: Handle, server: String, news: mpsc::Sender<Arrival>) {
    let key = commands::passphrase_of_environment().map_or(KeyChoice::Auto, KeyChoice::passphrase);
    let made = async {
        let server: ServerUrl = server.parse().map_err(|error| format!("{error}"))?;
        let (client, phrase) = Client::sign_up(home, key, handle, &server).await.map_err(|error| error.to_string())?;
        let me = client.me().await.map_err(|error| error.to_string())?;
        let words = phrase.danger_words().split_whitespace().map(str::to_owned).collect();
        Ok::<_, String>((client, News::SignedUp { me, words }))
    };
    match made.await {
        Ok((client, signed_up)) => {
            // The words first: they must be seen whatever happens to the rest.
            let _ = news.send(Arrival::News(signed_up)).await;
            let _ = news.send(Arrival::Client(client)).await;
        }
        Err(why) => {
            let _ = news.send(Arrival::News(News::NotSignedUp(why))).await;
        }
    }
}

fn connection(client: &Client) -> Connection {
    let status = client.status();
    let tried = status.device.trouble.is_some() || status.anonymous.trouble.is_some() || status.note.is_some();
    match status.why() {
        None => Connection::Online,
        Some(why) if tried => Connection::Offline(why),
        Some(_) => Connection::Connecting,
    }
}

/// The terminal in raw mode on its other screen, until the value is dropped or something panics.
struct Screen {
    terminal: Terminal<CrosstermBackend<io::Stdout>>,
}

impl Screen {
    fn enter() -> io::Result<Self> {
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            leave();
            hook(info);
        }));
        enable_raw_mode()?;
        let entered = execute!(io::stdout(), EnterAlternateScreen, EnableBracketedPaste)
            .and_then(|()| Terminal::new(CrosstermBackend::new(io::stdout())));
        match entered {
            Ok(terminal) => Ok(Self { terminal }),
            Err(error) => {
                leave();
                Err(error)
            }
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        leave();
    }
}

fn leave() {
    // Each is tried whatever became of the other: a half-restored terminal is better than none.
    let _ = execute!(io::stdout(), DisableBracketedPaste, LeaveAlternateScreen, crossterm::cursor::Show);
    let _ = disable_raw_mode();
}

/// Keys that wait for the loop.
const KEYS_MAX: usize = 1_024;
/// News on their way to the loop.
const NEWS_MAX: usize = 256;
/// Texts on their way to the vault.
const TEXTS_MAX: usize = 64;
/// Events taken before the screen is drawn again.
const EVENTS_A_FRAME: usize = 512;
