//! Who wants to write. Nothing of theirs is shown before it is accepted.

use leptos::prelude::*;
use leptos::task::spawn_local;
use stonechat_api::{Command, ContactRequest, Outcome};

use crate::clock;
use crate::conversation::{BackLink, focus_pane};
use crate::picture::Picture;
use crate::state::{Route, state, words};

/// The pane with the requests.
#[component]
pub(crate) fn RequestsPane() -> impl IntoView {
    let t = words();
    let state = state();
    let fault = RwSignal::new(None::<String>);
    Effect::new(focus_pane);
    view! {
        <header class="bar">
            <BackLink />
            <div class="bar-title">
                <h2 id="pane-title" tabindex="-1">{t.requests}</h2>
            </div>
        </header>
        <div class="scroll">
            <p class="hint">{t.requests_lead}</p>
            {move || fault.get().map(|text| view! { <p class="error" role="alert">{text}</p> })}
            <Show
                when=move || state.requests.with(|all| !all.is_empty())
                fallback=move || view! { <p class="empty">{t.no_requests}</p> }
            >
                <ul class="rows" aria-label=t.requests>
                    <For
                        each=move || state.requests.get()
                        key=|one| (one.from, one.conversation, one.started_over)
                        children=move |request| view! { <RequestRow request fault /> }
                    />
                </ul>
            </Show>
        </div>
    }
}

#[component]
fn RequestRow(request: ContactRequest, fault: RwSignal<Option<String>>) -> impl IntoView {
    let t = words();
    let state = state();
    let is_busy = RwSignal::new(false);
    let ContactRequest { from: account, handle, conversation, is_group, at, started_over } = request;
    let at_ms = at.0;
    let accept = {
        let handle = handle.clone();
        move |_| {
            let from = handle.clone();
            is_busy.set(true);
            fault.set(None);
            spawn_local(async move {
                match state.run(Command::Accept { from }).await {
                    Ok(outcome) => {
                        let id = if let Outcome::Conversation(id) = outcome { id } else { conversation };
                        // What they wrote may still be on its way.
                        if untrack(|| state.conversation(&id)).is_some() {
                            state.go(&Route::Conversation(id));
                        } else {
                            state.awaited.set(Some(id));
                        }
                    }
                    Err(why) => fault.set(Some(t.fault(&why))),
                }
                is_busy.set(false);
            });
        }
    };
    let decline = {
        let handle = handle.clone();
        move |_| {
            let from = handle.clone();
            is_busy.set(true);
            fault.set(None);
            spawn_local(async move {
                if let Err(why) = state.run(Command::Decline { from }).await {
                    fault.set(Some(t.fault(&why)));
                }
                is_busy.set(false);
            });
        }
    };
    view! {
        <li class="request">
            <Picture id=account.to_string() />
            <div class="row-main">
                <p class="row-title">{handle.to_string()}</p>
                <p class="row-preview">
                    {if is_group { t.wants_group } else { t.wants_to_write }} " · "
                    <time datetime=clock::iso(at_ms)>{clock::short(at_ms, t)}</time>
                </p>
            </div>
            {started_over.then(|| view! { <p class="notice alarm">{t.trust.request_started_over}</p> })}
            <div class="actions">
                <button type="button" class="button primary" disabled=move || is_busy.get() on:click=accept>
                    {t.accept}
                </button>
                <button type="button" class="button" disabled=move || is_busy.get() on:click=decline>
                    {t.decline}
                </button>
            </div>
        </li>
    }
}
