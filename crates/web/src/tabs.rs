//! Several tabs, one client: the tab that holds a Web Lock has the worker, the others follow it over a BroadcastChannel.
//!
//! The browser frees the lock when its tab ends, however it ends, and gives it to the next: that one starts a worker of its own,
//! says so, and every tab asks again for what was not answered. A follower's ask is acknowledged before it goes to the worker,
//! so that what may have happened is never done twice.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use js_sys::{Array, Function, Object, Promise, Reflect};
use serde::{Deserialize, Serialize};
use wasm_bindgen::closure::Closure;
use wasm_bindgen::{JsCast as _, JsValue};
use wasm_bindgen_futures::spawn_local;
use web_sys::{BroadcastChannel, MessageEvent};

use crate::protocol::{Ask, Event, Fault, Reply, Request, Start, TabRole, Tell, from_text, to_text};
use crate::transport::{Carrier, Exchange};

/// Between tabs.
#[expect(clippy::large_enum_variant, reason = "it lives as long as it takes to pass it on")]
#[derive(Serialize, Deserialize)]
enum Frame {
    /// A follower asks.
    Ask {
        /// Which follower.
        tab: u64,
        /// What.
        ask: Ask,
    },
    /// The leader has that ask.
    Taken {
        /// Whose.
        tab: u64,
        /// Which.
        id: u64,
    },
    /// The client tells.
    Tell {
        /// Whom; `None` for everybody.
        tab: Option<u64>,
        /// What.
        tell: Tell,
    },
    /// There is a new leader: ask it.
    Leads,
}

/// This tab among the others.
pub(crate) struct Tabs {
    address: String,
    exchange: Rc<Exchange>,
    /// This tab's name among the others. Random.
    tab: u64,
    channel: Option<BroadcastChannel>,
    role: RefCell<Role>,
}

enum Role {
    /// Not known yet, or another has the client.
    Follows,
    /// This one does.
    Leads(Leader),
    /// Nobody does, and nobody will.
    Broken(Fault),
}

struct Leader {
    worker: web_sys::Worker,
    /// The worker said something: it hears.
    is_awake: bool,
    /// What waits for that.
    early: VecDeque<String>,
    last_id: u64,
    /// Whose ask is whose, by the id that the worker knows it by; `None` for this tab's own.
    asked: BTreeMap<u64, (Option<u64>, u64)>,
}

impl Tabs {
    /// Joins: leads if nobody does, else follows until it is this tab's turn.
    pub(crate) fn join(address: &str, exchange: Rc<Exchange>) -> Rc<Self> {
        let tabs = Rc::new(Self {
            address: address.to_owned(),
            exchange,
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a random number below 2^53")]
            tab: (js_sys::Math::random() * 9_007_199_254_740_992.0) as u64,
            channel: BroadcastChannel::new(&channel_name()).ok(),
            role: RefCell::new(Role::Follows),
        });
        if let Some(channel) = &tabs.channel {
            let heard = Rc::clone(&tabs);
            let on_message = Closure::<dyn FnMut(MessageEvent)>::new(move |event: MessageEvent| {
                if let Some(frame) = event.data().as_string().as_deref().and_then(from_text) {
                    heard.hear(frame);
                }
            });
            channel.set_onmessage(Some(on_message.as_ref().unchecked_ref()));
            // It lives as long as the tab.
            on_message.forget();
        }
        tabs.stand();
        tabs
    }

    /// Waits for the lock, and leads as soon as this tab has it.
    fn stand(self: &Rc<Self>) {
        let locks = web_sys::window().map(|window| get(&window.navigator(), "locks")).unwrap_or_default();
        let Ok(request) = get(&locks, "request").dyn_into::<Function>() else {
            self.broken(Fault::Unsupported { detail: "Web Locks".into() });
            return;
        };
        let granted = {
            let tabs = Rc::clone(self);
            Closure::once_into_js(move |_lock: JsValue| {
                tabs.lead();
                // Held until the tab ends.
                Promise::new(&mut |_, _| {})
            })
        };
        // Whether another tab has it is worth saying at once.
        let tried = {
            let (tabs, locks, request) = (Rc::clone(self), locks.clone(), request.clone());
            Closure::once_into_js(move |lock: JsValue| -> JsValue {
                if lock.is_null() {
                    tabs.exchange.tell(&Event::Tab(TabRole::Follows));
                    // A browser that has locks gives them.
                    let _ = request.call2(&locks, &LOCK.into(), &granted);
                    return JsValue::UNDEFINED;
                }
                let function: Function = granted.unchecked_into();
                function.call1(&JsValue::UNDEFINED, &lock).unwrap_or_default()
            })
        };
        let options = Object::new();
        let _ = Reflect::set(&options, &"ifAvailable".into(), &true.into());
        if request.call3(&locks, &LOCK.into(), &options, &tried).is_err() {
            self.broken(Fault::Unsupported { detail: "Web Locks".into() });
        }
    }

    fn lead(self: &Rc<Self>) {
        let worker = match new_worker(&self.address) {
            Ok(worker) => worker,
            Err(error) => {
                let why = get(&error, "message").as_string().unwrap_or_default();
                self.broken(Fault::Unsupported { detail: format!("a worker: {why}") });
                return;
            }
        };
        let heard = Rc::clone(self);
        let on_message = Closure::<dyn FnMut(MessageEvent)>::new(move |event: MessageEvent| {
            if let Some(tell) = event.data().as_string().as_deref().and_then(from_text) {
                heard.worker_told(tell);
            }
        });
        worker.set_onmessage(Some(on_message.as_ref().unchecked_ref()));
        on_message.forget();
        let failed = Rc::clone(self);
        let on_error = Closure::<dyn FnMut(JsValue)>::new(move |event: JsValue| {
            // The console would show where it happened; what people wrote is not in there.
            if let Ok(prevent) = get(&event, "preventDefault").dyn_into::<Function>() {
                let _ = prevent.call0(&event);
            }
            failed.worker_failed();
        });
        worker.set_onerror(Some(on_error.as_ref().unchecked_ref()));
        on_error.forget();
        *self.role.borrow_mut() =
            Role::Leads(Leader { worker, is_awake: false, early: VecDeque::new(), last_id: 0, asked: BTreeMap::new() });
        self.exchange.tell(&Event::Tab(TabRole::Leads));
        self.post(&Frame::Leads);
        for ask in self.exchange.change_over() {
            self.carry(&ask);
        }
    }

    fn hear(&self, frame: Frame) {
        let (leads, broken) = match &*self.role.borrow() {
            Role::Leads(_) => (true, None),
            Role::Broken(fault) => (false, Some(fault.clone())),
            Role::Follows => (false, None),
        };
        match (frame, broken) {
            (Frame::Ask { tab, ask }, Some(fault)) => {
                self.post(&Frame::Tell { tab: Some(tab), tell: refusal(&ask, fault) });
            }
            (frame, _) => self.hear_from(frame, leads),
        }
    }

    fn hear_from(&self, frame: Frame, leads: bool) {
        match frame {
            Frame::Ask { tab, ask } if leads => {
                // Before it goes to the worker: see above.
                self.post(&Frame::Taken { tab, id: ask.id });
                self.pass(Some(tab), ask);
            }
            Frame::Taken { tab, id } if tab == self.tab => self.exchange.taken(id),
            Frame::Tell { tab, tell } if !leads && tab.is_none_or(|tab| tab == self.tab) => self.exchange.take(tell),
            Frame::Leads if !leads => {
                for ask in self.exchange.change_over() {
                    self.carry(&ask);
                }
            }
            _ => {}
        }
    }

    /// What the worker of this tab says goes to whoever asked, events to everybody.
    fn worker_told(&self, tell: Tell) {
        let to = {
            let mut role = self.role.borrow_mut();
            let Role::Leads(leader) = &mut *role else { return };
            if !leader.is_awake {
                leader.is_awake = true;
                for ask in leader.early.drain(..) {
                    // To a worker that has failed: then that is told.
                    let _ = leader.worker.post_message(&ask.into());
                }
            }
            match &tell {
                Tell::Reply { id, .. } => leader.asked.remove(id),
                Tell::Event(_) => None,
            }
        };
        match (tell, to) {
            (Tell::Reply { result, .. }, Some((None, id))) => self.exchange.take(Tell::Reply { id, result }),
            (Tell::Reply { result, .. }, Some((tab, id))) => {
                self.post(&Frame::Tell { tab, tell: Tell::Reply { id, result } });
            }
            (Tell::Reply { .. }, None) => {}
            (Tell::Event(event), _) => {
                self.post(&Frame::Tell { tab: None, tell: Tell::Event(event.clone()) });
                self.exchange.take(Tell::Event(event));
            }
        }
    }

    fn worker_failed(&self) {
        let fault = Fault::Stopped;
        self.post(&Frame::Tell { tab: None, tell: Tell::Event(Event::Start(Start::Broken(fault.clone()))) });
        self.broken(fault);
    }

    fn broken(&self, fault: Fault) {
        *self.role.borrow_mut() = Role::Broken(fault.clone());
        self.exchange.fail(&fault);
        self.exchange.tell(&Event::Start(Start::Broken(fault)));
    }

    /// To the worker of this tab.
    fn pass(&self, tab: Option<u64>, Ask { id, request }: Ask) {
        let mut role = self.role.borrow_mut();
        let Role::Leads(leader) = &mut *role else { return };
        leader.last_id += 1;
        leader.asked.insert(leader.last_id, (tab, id));
        let text = to_text(&Ask { id: leader.last_id, request });
        if leader.is_awake {
            // To a worker that has failed: then that is told.
            let _ = leader.worker.post_message(&text.into());
        } else {
            leader.early.push_back(text);
        }
    }

    fn post(&self, frame: &Frame) {
        if let Some(channel) = &self.channel {
            // A channel of this tab's own is open as long as the tab is.
            let _ = channel.post_message(&to_text(frame).into());
        }
    }
}

impl Carrier for Tabs {
    fn carry(&self, ask: &Ask) {
        enum Way {
            Own,
            Other,
            None(Fault),
        }
        let way = match &*self.role.borrow() {
            Role::Leads(_) => Way::Own,
            Role::Follows => Way::Other,
            Role::Broken(fault) => Way::None(fault.clone()),
        };
        match way {
            Way::Own => {
                self.exchange.taken(ask.id);
                self.pass(None, ask.clone());
            }
            Way::Other => {
                self.post(&Frame::Ask { tab: self.tab, ask: ask.clone() });
                let (exchange, id) = (Rc::clone(&self.exchange), ask.id);
                spawn_local(async move {
                    gloo_timers::future::sleep(TAKEN_WITHIN).await;
                    if exchange.is_untaken(id) {
                        exchange.take(Tell::Reply { id, result: Err(Fault::OtherTab) });
                    }
                });
            }
            Way::None(fault) => self.exchange.take(refusal(ask, fault)),
        }
    }
}

/// What a client that is not there answers.
fn refusal(ask: &Ask, fault: Fault) -> Tell {
    let result = match ask.request {
        Request::Start => Ok(Reply::Start(Start::Broken(fault))),
        _ => Err(fault),
    };
    Tell::Reply { id: ask.id, result }
}

/// A module worker. Its address goes through a Trusted Types policy where the browser has them: the page's policy allows one
/// name, and this is its only use.
fn new_worker(address: &str) -> Result<web_sys::Worker, JsValue> {
    let window: JsValue = js_sys::global().into();
    let types = get(&window, "trustedTypes");
    let trusted = if types.is_undefined() {
        address.into()
    } else {
        let only = address.to_owned();
        let create =
            Closure::<dyn Fn(String) -> JsValue>::new(
                move |asked: String| {
                    if asked == only { asked.into() } else { JsValue::NULL }
                },
            );
        let rules = Object::new();
        Reflect::set(&rules, &"createScriptURL".into(), create.as_ref())?;
        let make: Function = get(&types, "createPolicy").dyn_into()?;
        let policy = make.call2(&types, &"stonechat".into(), &rules)?;
        let url: Function = get(&policy, "createScriptURL").dyn_into()?;
        url.call1(&policy, &address.into())?
    };
    let options = Object::new();
    Reflect::set(&options, &"type".into(), &"module".into())?;
    Reflect::set(&options, &"name".into(), &"stonechat".into())?;
    let class: Function = get(&window, "Worker").dyn_into()?;
    Reflect::construct(&class, &Array::of2(&trusted, &options))?.dyn_into()
}

fn get(object: &JsValue, name: &str) -> JsValue {
    Reflect::get(object, &name.into()).unwrap_or_default()
}

/// Tabs of one version understand each other; the lock is one for all.
fn channel_name() -> String {
    format!("stonechat {}", env!("CARGO_PKG_VERSION"))
}

const LOCK: &str = "stonechat client";
/// A leader that does not take an ask by then is taken to be one that never will.
const TAKEN_WITHIN: Duration = Duration::from_secs(10);
