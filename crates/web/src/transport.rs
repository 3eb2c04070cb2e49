//! The page's end: asks with their answers, and events, over whatever carries them.
//!
//! A [`Worker`] is how a page speaks to the client, wherever that is: in a browser's worker, in another tab (`Worker::start`), or
//! in a native shell, which brings its own [`Carrier`].

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use futures_channel::oneshot;

use crate::protocol::{Ask, Event, Fault, FromReply, Reply, Request, Tell};

/// Takes a page's asks to the client. What comes back goes into [`Exchange::take`].
pub trait Carrier {
    /// Takes one ask on its way, and returns at once.
    fn carry(&self, ask: &Ask);
}

/// The way to the client. Clones are the same way.
#[derive(Clone)]
pub struct Worker {
    exchange: Rc<Exchange>,
    carrier: Rc<dyn Carrier>,
}

impl Worker {
    /// Speaks to the client over a carrier that gives what comes back to `exchange`.
    pub fn over(exchange: Rc<Exchange>, carrier: Rc<dyn Carrier>) -> Self {
        Self { exchange, carrier }
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// [`Fault`], with a text for people.
    ///
    /// # Cancel safety
    /// Safe: what was asked goes on, only the answer is lost.
    pub async fn ask<T: FromReply>(&self, request: Request) -> Result<T, Fault> {
        let (ask, answer) = self.exchange.ask(request);
        self.carrier.carry(&ask);
        let reply = answer.await.map_err(|_| gone())??;
        T::from_reply(reply).ok_or_else(|| Fault::Bug { detail: "an answer to something else".into() })
    }

    /// Calls `listener` for everything that happens from now on.
    pub fn listen(&self, listener: impl Fn(Event) + 'static) {
        self.exchange.listeners.borrow_mut().push(Rc::new(listener));
    }
}

/// What waits for an answer, and who listens.
#[derive(Default)]
pub struct Exchange {
    last_id: Cell<u64>,
    waiting: RefCell<BTreeMap<u64, Waiting>>,
    listeners: RefCell<Vec<Listener>>,
}

type Listener = Rc<dyn Fn(Event)>;

struct Waiting {
    request: Request,
    /// Whoever has the client has the ask.
    taken: bool,
    answer: oneshot::Sender<Result<Reply, Fault>>,
}

impl Exchange {
    fn ask(&self, request: Request) -> (Ask, oneshot::Receiver<Result<Reply, Fault>>) {
        let id = self.last_id.get() + 1;
        self.last_id.set(id);
        let (answer, answered) = oneshot::channel();
        let waiting = Waiting { request: request.clone(), taken: false, answer };
        self.waiting.borrow_mut().insert(id, waiting);
        (Ask { id, request }, answered)
    }

    /// Takes what came back. An answer that nobody waits for any more is dropped.
    pub fn take(&self, tell: Tell) {
        match tell {
            Tell::Reply { id, result } => {
                if let Some(waiting) = self.waiting.borrow_mut().remove(&id) {
                    // Whoever asked may have stopped waiting.
                    let _ = waiting.answer.send(result);
                }
            }
            Tell::Event(event) => self.tell(&event),
        }
    }

    /// Tells the listeners. One that asks or listens meanwhile disturbs nobody.
    pub fn tell(&self, event: &Event) {
        let listeners = self.listeners.borrow().clone();
        for listener in listeners {
            listener(event.clone());
        }
    }

    /// Whoever has the client has this ask.
    pub fn taken(&self, id: u64) {
        if let Some(waiting) = self.waiting.borrow_mut().get_mut(&id) {
            waiting.taken = true;
        }
    }

    /// Whether an ask still waits to be taken.
    pub fn is_untaken(&self, id: u64) -> bool {
        self.waiting.borrow().get(&id).is_some_and(|waiting| !waiting.taken)
    }

    /// Another has the client now. Gives what is to be asked again: what was never taken, and what only reads. What may have
    /// happened is not done twice: whoever waits for that is told so.
    pub fn change_over(&self) -> Vec<Ask> {
        let mut again = Vec::new();
        let mut lost = Vec::new();
        {
            let mut waiting = self.waiting.borrow_mut();
            for (id, one) in std::mem::take(&mut *waiting) {
                if one.taken && !one.request.is_reading() {
                    lost.push(one.answer);
                } else {
                    again.push(Ask { id, request: one.request.clone() });
                    waiting.insert(id, Waiting { taken: false, ..one });
                }
            }
        }
        for answer in lost {
            let _ = answer.send(Err(Fault::TabClosed));
        }
        again
    }

    /// Nobody will answer any more: whoever waits is told why.
    pub fn fail(&self, fault: &Fault) {
        for (_, waiting) in std::mem::take(&mut *self.waiting.borrow_mut()) {
            let _ = waiting.answer.send(Err(fault.clone()));
        }
    }
}

fn gone() -> Fault {
    Fault::Stopped
}

#[cfg(target_arch = "wasm32")]
mod browser {
    use wasm_bindgen_futures::JsFuture;

    use super::{Exchange, Rc, Worker};
    use crate::tabs::Tabs;

    impl Worker {
        /// Joins this browser's tabs: starts the worker whose script is at `address` in this tab, or follows the tab that has it.
        pub fn start(address: &str) -> Self {
            let exchange = Rc::new(Exchange::default());
            let tabs = Tabs::join(address, Rc::clone(&exchange));
            Self::over(exchange, tabs)
        }

        /// Asks the browser never to clear what is stored here by itself, and says whether it agreed. Some browsers ask the person, so
        /// this belongs after something that the person did.
        pub async fn persist(&self) -> bool {
            let Some(window) = web_sys::window() else { return false };
            let Ok(asked) = window.navigator().storage().persist() else { return false };
            JsFuture::from(asked).await.is_ok_and(|agreed| agreed.is_truthy())
        }
    }

    /// Where the worker's script is: what the element `#worker` of the page refers to.
    pub fn worker_url() -> Option<String> {
        web_sys::window()?.document()?.get_element_by_id("worker")?.get_attribute("href")
    }
}

#[cfg(target_arch = "wasm32")]
pub use browser::worker_url;

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;
    use stonechat_api::{Command, Outcome, Target};
    use stonechat_wire::Handle;

    use crate::protocol::{Start, Storage};

    /// Keeps what it is given.
    #[derive(Default)]
    struct Shelf(RefCell<Vec<Ask>>);

    impl Carrier for Shelf {
        fn carry(&self, ask: &Ask) {
            self.0.borrow_mut().push(ask.clone());
        }
    }

    fn worker() -> (Worker, Rc<Exchange>, Rc<Shelf>) {
        let (exchange, shelf) = (Rc::new(Exchange::default()), Rc::new(Shelf::default()));
        (Worker::over(Rc::clone(&exchange), shelf.clone()), exchange, shelf)
    }

    fn poll<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    fn send() -> Request {
        Request::Run(Command::Send { to: Target::Person(Handle::parse("@bob").unwrap()), text: "hi".into() })
    }

    #[test]
    fn each_answer_goes_to_its_ask_in_whatever_order() {
        let (worker, exchange, shelf) = worker();
        let mut first = pin!(worker.ask::<Start>(Request::Start));
        let mut second = pin!(worker.ask::<()>(Request::SignOut));
        assert!(poll(first.as_mut()).is_pending());
        assert!(poll(second.as_mut()).is_pending());
        let ids: Vec<_> = shelf.0.borrow().iter().map(|ask| ask.id).collect();
        exchange.take(Tell::Reply { id: ids[1], result: Ok(Reply::Done) });
        assert_eq!(poll(second), Poll::Ready(Ok(())));
        assert!(poll(first.as_mut()).is_pending());
        exchange.take(Tell::Reply { id: ids[0], result: Ok(Reply::Start(Start::Opening)) });
        assert_eq!(poll(first), Poll::Ready(Ok(Start::Opening)));
        // Once more is nobody's.
        exchange.take(Tell::Reply { id: ids[0], result: Ok(Reply::Done) });
    }

    #[test]
    fn an_answer_of_another_kind_is_a_fault_and_no_panic() {
        let (worker, exchange, _) = worker();
        let mut asked = pin!(worker.ask::<Storage>(Request::Storage));
        assert!(poll(asked.as_mut()).is_pending());
        exchange.take(Tell::Reply { id: 1, result: Ok(Reply::Done) });
        assert!(matches!(poll(asked), Poll::Ready(Err(Fault::Bug { .. }))));
    }

    #[test]
    fn a_message_is_not_sent_twice_when_the_tab_that_may_have_sent_it_is_gone() {
        let (worker, exchange, _) = worker();
        let mut taken = pin!(worker.ask::<Outcome>(send()));
        let mut untaken = pin!(worker.ask::<Outcome>(send()));
        let mut reading = pin!(worker.ask::<Start>(Request::Start));
        assert!(poll(taken.as_mut()).is_pending());
        assert!(poll(untaken.as_mut()).is_pending());
        assert!(poll(reading.as_mut()).is_pending());
        exchange.taken(1);
        exchange.taken(3);
        let again: Vec<_> = exchange.change_over().iter().map(|ask| ask.id).collect();
        assert_eq!(again, [2, 3]);
        assert!(matches!(poll(taken), Poll::Ready(Err(Fault::TabClosed))));
        assert!(exchange.is_untaken(2) && exchange.is_untaken(3));
        exchange.fail(&gone());
        assert_eq!(poll(untaken), Poll::Ready(Err(gone())));
        assert_eq!(poll(reading), Poll::Ready(Err(gone())));
    }

    #[test]
    fn a_listener_may_ask_and_listen_while_it_is_told() {
        let (worker, exchange, shelf) = worker();
        let heard = Rc::new(Cell::new(0));
        worker.listen({
            let (worker, heard) = (worker.clone(), Rc::clone(&heard));
            move |_| {
                heard.set(heard.get() + 1);
                let counted = Rc::clone(&heard);
                worker.listen(move |_| counted.set(counted.get() + 10));
                assert!(poll(pin!(worker.ask::<Start>(Request::Start))).is_pending());
            }
        });
        exchange.take(Tell::Event(Event::Missed));
        assert_eq!((heard.get(), shelf.0.borrow().len()), (1, 1));
    }
}
