//! A browser's sockets.
//!
//! A WebSocket of a browser tells neither why it could not be opened nor that pongs arrive. So every reason is one, and the quiet
//! is broken by [`Request::Ping`], whose answers never leave this module.

use std::rc::Rc;
use std::time::Duration;

use stonechat_core::api::Link;
use stonechat_wire::limits::FRAME_BYTES_MAX;
use stonechat_wire::{ClientFrame, Hello, HelloReply, PROTOCOL_VERSION, Request, ServerFrame, decode, encode};
use tokio::sync::{mpsc, oneshot};
use wasm_bindgen::closure::Closure;
use wasm_bindgen::{JsCast as _, JsValue};
use web_sys::{BinaryType, EventTarget, MessageEvent, WebSocket};

use super::{
    CONNECT_TIMEOUT, ConnectError, IDLE_TIMEOUT, LinkEvent, OUTGOING_FRAMES_MAX, PING_INTERVAL, Parts, ServerUrl,
};
use crate::rt::timeout;

/// Takes an address apart.
///
/// # Errors
/// What is wrong with it.
pub(super) fn split(given: &str) -> Result<Parts, String> {
    let url = web_sys::Url::new(given).map_err(|_| "it cannot be read".to_owned())?;
    let extra = if !url.username().is_empty() || !url.password().is_empty() {
        Some("user name")
    } else if !matches!(url.pathname().as_str(), "" | "/") {
        Some("path")
    } else if !url.search().is_empty() || !url.hash().is_empty() {
        Some("query")
    } else {
        None
    };
    let scheme = url.protocol().trim_end_matches(':').to_owned();
    Ok(Parts { scheme, host: url.hostname(), port: url.port().parse().ok(), extra })
}

/// Waits before the next attempt; not when the browser says that the network is back.
pub(super) async fn rest(duration: Duration) {
    let target: EventTarget = js_sys::global().unchecked_into();
    let (tell, told) = oneshot::channel();
    let mut tell = Some(tell);
    let online = on(move |_| {
        // Whoever waited may be gone.
        let _ = tell.take().map(|tell| tell.send(()));
    });
    let call = online.as_ref().unchecked_ref();
    // A browser that does not say so is waited for.
    let _ = target.add_event_listener_with_callback("online", call);
    let _ = timeout(duration, told).await;
    let _ = target.remove_event_listener_with_callback("online", call);
}

/// What opens one link's connections.
pub(super) struct Dialler;

impl Dialler {
    /// # Errors
    /// None: the browser has its own list of whom to trust.
    #[expect(clippy::unnecessary_wraps, reason = "natively this can fail")]
    pub(super) fn new(_: &ServerUrl) -> Result<Self, ConnectError> {
        Ok(Self)
    }

    /// # Errors
    /// [`ConnectError`], within [`CONNECT_TIMEOUT`].
    pub(super) async fn open(&self, server: &ServerUrl) -> Result<Connection, ConnectError> {
        match timeout(CONNECT_TIMEOUT, Connection::open(server)).await {
            Ok(result) => result,
            Err(_) => Err(ConnectError::TimedOut { host: server.authority() }),
        }
    }
}

/// An open connection; the server answered its `Hello`.
pub(super) struct Connection {
    socket: Socket,
    hello: HelloReply,
}

impl Connection {
    async fn open(server: &ServerUrl) -> Result<Self, ConnectError> {
        let host = server.authority();
        let not_stonechat = |detail: &str| ConnectError::NotStonechat { host: host.clone(), detail: detail.into() };
        let mut socket = Socket::new(&server.endpoint()).map_err(|detail| not_stonechat(&detail))?;
        match socket.next().await {
            Some(Heard::Open) => {}
            _ => return Err(ConnectError::Unreachable { host, detail: "it does not answer".into() }),
        }
        let lost = |detail: &str| ConnectError::Lost { host: host.clone(), detail: detail.into() };
        socket.send(&encode(&Hello { version: PROTOCOL_VERSION })).map_err(|()| lost("it closed at once"))?;
        match socket.next().await {
            Some(Heard::Bytes(bytes)) => match decode::<ServerFrame>(&bytes) {
                Ok(ServerFrame::Hello(hello)) => Ok(Self { socket, hello }),
                Ok(ServerFrame::Closing(failure)) => Err(ConnectError::Closed { host, failure }),
                Ok(_) | Err(_) => Err(not_stonechat("its first frame is no greeting")),
            },
            Some(Heard::Other | Heard::Open) => Err(not_stonechat("its first frame is no greeting")),
            None => Err(lost("it closed without a greeting")),
        }
    }

    /// Says good-bye.
    #[expect(clippy::unused_async, reason = "natively this waits")]
    pub(super) async fn close(self) {
        // Dropping the socket closes it.
    }

    /// Passes frames both ways until either side ends it. Returns why, unless it was this side.
    pub(super) async fn serve(
        self,
        link: Link,
        server: &ServerUrl,
        events: &mpsc::Sender<(Link, LinkEvent)>,
    ) -> Option<ConnectError> {
        let host = server.authority();
        let Self { mut socket, hello } = self;
        let (outgoing, mut queue) = mpsc::channel::<ClientFrame>(OUTGOING_FRAMES_MAX);
        let lost = |detail: &str| ConnectError::Lost { host: host.clone(), detail: detail.into() };
        let sender = socket.sender();
        if events.send((link, LinkEvent::Connected { host: host.clone(), hello, outgoing })).await.is_err() {
            return None;
        }
        let read = async {
            loop {
                let frame = match timeout(IDLE_TIMEOUT, socket.next()).await {
                    Err(_) => return Some(lost("it is silent")),
                    Ok(None) => return Some(lost("it was closed")),
                    Ok(Some(Heard::Open)) => continue,
                    Ok(Some(Heard::Other)) => return Some(lost("the server sent something that is no frame")),
                    Ok(Some(Heard::Bytes(bytes))) => decode::<ServerFrame>(&bytes),
                };
                match frame {
                    Ok(ServerFrame::Closing(failure)) => {
                        return Some(ConnectError::Closed { host: host.clone(), failure });
                    }
                    Ok(ServerFrame::Reply(PING_ID, _) | ServerFrame::Refused(PING_ID, _)) => {}
                    Ok(frame) => {
                        if events.send((link, LinkEvent::Frame(frame))).await.is_err() {
                            return None;
                        }
                    }
                    Err(error) => return Some(lost(&format!("the server sent a frame that is {error}"))),
                }
            }
        };
        let write = async {
            loop {
                let frame = match timeout(PING_INTERVAL, queue.recv()).await {
                    Ok(Some(frame)) => frame,
                    Ok(None) => return None,
                    Err(_) => ClientFrame { id: PING_ID, request: Request::Ping },
                };
                if sender.send(&encode(&frame)).is_err() {
                    return Some(lost("it was closed"));
                }
            }
        };
        tokio::select! {
            why = read => why,
            why = write => why,
        }
    }
}

/// What a socket tells.
enum Heard {
    Open,
    Bytes(Vec<u8>),
    /// Text, or something too long: nothing of ours.
    Other,
}

/// A WebSocket whose events wait in a queue. Closed when dropped; its queue ends when it was closed.
struct Socket {
    sender: Sender,
    heard: mpsc::Receiver<Heard>,
    /// Called by the browser as long as they live.
    _on: [Closure<dyn FnMut(JsValue)>; 4],
}

/// The sending half.
#[derive(Clone)]
struct Sender(Rc<WebSocket>);

impl Socket {
    fn new(address: &str) -> Result<Self, String> {
        let refused = |_| "the browser refuses its address".to_owned();
        let socket = WebSocket::new(address).map_err(refused)?;
        socket.set_binary_type(BinaryType::Arraybuffer);
        let (tell, heard) = mpsc::channel(ARRIVALS_MAX);
        let tell = Rc::new(std::cell::RefCell::new(Some(tell)));
        // A queue that is full will not be read in time: the connection is given up, and the rest asked for again.
        let say = move |what: Option<Heard>| {
            let mut tell = tell.borrow_mut();
            let said = match (&*tell, what) {
                (Some(tell), Some(what)) => tell.try_send(what).is_ok(),
                _ => false,
            };
            if !said {
                *tell = None;
            }
        };
        let open = on({
            let say = say.clone();
            move |_| say(Some(Heard::Open))
        });
        let message = on({
            let say = say.clone();
            move |event| say(Some(heard_in(&event)))
        });
        let error = on({
            let say = say.clone();
            move |_| say(None)
        });
        let close = on(move |_| say(None));
        socket.set_onopen(Some(open.as_ref().unchecked_ref()));
        socket.set_onmessage(Some(message.as_ref().unchecked_ref()));
        socket.set_onerror(Some(error.as_ref().unchecked_ref()));
        socket.set_onclose(Some(close.as_ref().unchecked_ref()));
        Ok(Self { sender: Sender(Rc::new(socket)), heard, _on: [open, message, error, close] })
    }

    fn sender(&self) -> Sender {
        self.sender.clone()
    }

    async fn next(&mut self) -> Option<Heard> {
        self.heard.recv().await
    }

    fn send(&self, bytes: &[u8]) -> Result<(), ()> {
        self.sender.send(bytes)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let socket = &self.sender.0;
        socket.set_onopen(None);
        socket.set_onmessage(None);
        socket.set_onerror(None);
        socket.set_onclose(None);
        // What was sent goes out first. A socket that is closed already does not mind.
        let _ = socket.close();
    }
}

impl Sender {
    fn send(&self, bytes: &[u8]) -> Result<(), ()> {
        // In any other state the browser drops what it is given, silently.
        if self.0.ready_state() != WebSocket::OPEN {
            return Err(());
        }
        self.0.send_with_u8_array(bytes).map_err(drop)
    }
}

fn on(call: impl FnMut(JsValue) + 'static) -> Closure<dyn FnMut(JsValue)> {
    Closure::new(call)
}

fn heard_in(event: &JsValue) -> Heard {
    let data = event.unchecked_ref::<MessageEvent>().data();
    match data.dyn_ref::<js_sys::ArrayBuffer>() {
        Some(buffer) if buffer.byte_length() as usize <= FRAME_BYTES_MAX => {
            Heard::Bytes(js_sys::Uint8Array::new(buffer).to_vec())
        }
        _ => Heard::Other,
    }
}

/// No request of the core's is ever called this: it counts up from nothing.
const PING_ID: u32 = u32::MAX;
/// Frames that arrived and were not taken. More than the answers to a full outgoing queue.
const ARRIVALS_MAX: usize = 2 * OUTGOING_FRAMES_MAX;
