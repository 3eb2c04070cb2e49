//! The whole page: which screen, which panes, in which language and colours.

use leptos::prelude::*;
use stonechat_web::protocol::Start;
use stonechat_web::transport::{Worker, worker_url};

use crate::alarms::AlarmBanner;
use crate::conversation::{ConversationPane, NewConversation, Nothing};
use crate::dialogs::OpenDialog;
use crate::list::ListPane;
use crate::requests::RequestsPane;
use crate::start::{BRAND, Broken, Opening, SignUp, Words};
use crate::state::{LastTime, Route, State, state, theme_name, words};
use crate::text::LANGUAGES;

/// Draws the page and starts the worker, or follows the tab that has it.
pub(crate) fn start() {
    // What stood there until the program had come.
    if let Some(loading) = document().get_element_by_id("loading") {
        loading.remove();
    }
    leptos::mount::mount_to_body(|| match worker_url() {
        Some(address) => view! { <Page state=State::new(Worker::start(&address)) /> }.into_any(),
        None => {
            provide_context(LANGUAGES[0]);
            let text = "This page came without its worker: this is a fault in how it was built.";
            view! { <main class="screen"><p role="alert">{text}</p></main> }.into_any()
        }
    });
}

#[component]
fn Page(state: State) -> impl IntoView {
    provide_context(state);
    let language = Memo::new(move |_| state.words().tag);
    Effect::new(move || {
        if let Some(root) = document().document_element() {
            let _ = root.set_attribute("lang", language.get());
            let _ = root.set_attribute("data-theme", state.settings.with(|chosen| theme_name(chosen.theme)));
        }
    });
    // Another language draws everything again: no part of the page follows it by itself.
    move || {
        let _ = language.get();
        provide_context(untrack(|| state.words()));
        view! { <Screen /> }
    }
}

/// What is drawn as one, and stays while only its content changes.
#[derive(Clone, PartialEq)]
enum Stage {
    Before(Start),
    App,
}

#[component]
fn Screen() -> impl IntoView {
    let state = state();
    let stage = Memo::new(move |_| match state.start.get() {
        Start::Account { words_pending: false, .. } => Stage::App,
        // The worker has not answered yet. What it will most likely say is drawn already, and can be used: what is asked waits
        // for it.
        Start::Opening => match state.last_time.get_value() {
            None => Stage::Before(Start::NoAccount { unfinished: None }),
            Some(LastTime::Words) => Stage::Before(Start::Opening),
            Some(LastTime::App) => Stage::App,
        },
        other => Stage::Before(other),
    });
    move || match stage.get() {
        Stage::App => view! { <App /> }.into_any(),
        Stage::Before(Start::NoAccount { unfinished }) => view! { <SignUp unfinished /> }.into_any(),
        Stage::Before(Start::Account { me, .. }) => view! { <Words me /> }.into_any(),
        Stage::Before(Start::Broken(fault)) => view! { <Broken fault /> }.into_any(),
        Stage::Before(Start::Opening) => view! { <Opening /> }.into_any(),
    }
}

#[component]
fn App() -> impl IntoView {
    let t = words();
    let state = state();
    let route = Memo::new(move |_| state.route.get());
    // Where there is room for one pane only, it is this one.
    let pane = move || if route.get() == Route::List { "list" } else { "chat" };
    Effect::new(move |before: Option<Route>| {
        let now = route.get();
        if !matches!(now, Route::Conversation(_)) {
            state.log.close();
        }
        if let (Some(before), Route::List) = (before, &now) {
            focus_row(&before);
        }
        now
    });
    view! {
        <main class="app" data-pane=pane>
            <h1 class="sr-only">{BRAND}</h1>
            <AlarmBanner />
            <ListPane />
            <section class="pane chat-pane" aria-labelledby="pane-title">
                {move || match route.get() {
                    Route::List => view! { <Nothing text=t.pick /> }.into_any(),
                    Route::Requests => view! { <RequestsPane /> }.into_any(),
                    Route::New => view! { <NewConversation /> }.into_any(),
                    Route::Conversation(id) => view! { <ConversationPane id /> }.into_any(),
                }}
            </section>
            <div class="sr-only" aria-live="polite">{move || state.said.get()}</div>
        </main>
        <OpenDialog />
    }
}

/// Who comes back to the list goes on where they left it.
fn focus_row(before: &Route) {
    use wasm_bindgen::JsCast as _;
    let row = format!("a.row[href='{}']", before.link());
    request_animation_frame(move || {
        let found = document().query_selector(&row).ok().flatten();
        let found = found.or_else(|| document().get_element_by_id("list-title"));
        if let Some(found) = found.and_then(|found| found.dyn_into::<web_sys::HtmlElement>().ok()) {
            let _ = found.focus();
        }
    });
}
