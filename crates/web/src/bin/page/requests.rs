//! Who wants to write. Nothing of theirs is shown before it is accepted.

use leptos::prelude::*;
use leptos::task::spawn_local;
use stonechat_web::protocol::{ContactRequest, ConversationId, Request};

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
                        key=|one| (one.account.clone(), one.conversation.clone(), one.started_over)
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
    let ContactRequest { account, handle, conversation, is_group, at_ms, started_over } = request;
    let accept = {
        let handle = handle.clone();
        move |_| {
            let (from, conversation) = (handle.clone(), conversation.clone());
            is_busy.set(true);
            fault.set(None);
            spawn_local(async move {
                match state.ask::<Option<ConversationId>>(Request::Accept { from }).await {
                    Ok(opened) => {
                        let id = opened.unwrap_or(conversation);
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
                if let Err(why) = state.ask::<()>(Request::Decline { from }).await {
                    fault.set(Some(t.fault(&why)));
                }
                is_busy.set(false);
            });
        }
    };
    view! {
        <li class="request">
            <Picture id=account.0 />
            <div class="row-main">
                <p class="row-title">{handle}</p>
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
