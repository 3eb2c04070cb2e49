//! The list of conversations, and what a search finds.

use std::time::Duration;

use leptos::prelude::*;
use leptos::task::spawn_local;
use stonechat_api::{Conversation, Found, Message, Text};
use stonechat_web::protocol::{FOUND_MAX, Request};
use stonechat_wire::ConversationId;

use crate::clock;
use crate::message::preview;
use crate::picture::{ConversationPicture, Icon, Sign};
use crate::state::{Dialog, Route, State, state, words};
use crate::status::Banners;
use crate::trust::ComparedMark;

/// The pane with the conversations.
#[component]
pub(crate) fn ListPane() -> impl IntoView {
    let t = words();
    let state = state();
    let sought = RwSignal::new(String::new());
    let found = RwSignal::new(None::<Found>);
    let asked = StoredValue::new(0_u64);
    let on_search = move |event| {
        let text = event_target_value(&event);
        sought.set(text.clone());
        asked.update_value(|asked| *asked += 1);
        let now = asked.get_value();
        if text.trim().is_empty() {
            found.set(None);
            return;
        }
        set_timeout(move || search(state, text, found, asked, now), SEARCHED_AFTER);
    };
    view! {
        <nav class="pane list-pane" aria-label=t.conversations>
            <header class="bar">
                <div class="bar-title">
                    <h2 tabindex="-1" id="list-title">{t.conversations}</h2>
                </div>
                <DialogButton name=t.new_message sign=Sign::NewMessage dialog=Dialog::NewMessage />
                <DialogButton name=t.new_group sign=Sign::NewGroup dialog=Dialog::NewGroup />
                <DialogButton name=t.settings sign=Sign::Settings dialog=Dialog::Settings />
            </header>
            <Banners />
            <div class="search" role="search">
                <Icon sign=Sign::Search />
                <input
                    type="search"
                    aria-label=t.search
                    placeholder=t.search
                    autocomplete="off"
                    maxlength="200"
                    prop:value=sought
                    on:input=on_search
                />
            </div>
            <div class="list-scroll">
                {move || match found.get() {
                    Some(found) => view! { <FoundRows found /> }.into_any(),
                    None => view! { <Rows /> }.into_any(),
                }}
            </div>
        </nav>
    }
}

#[component]
fn DialogButton(name: &'static str, sign: Sign, dialog: Dialog) -> impl IntoView {
    let state = state();
    view! {
        <button
            type="button"
            class="button quiet icon"
            aria-label=name
            title=name
            on:click=move |_| state.dialog.set(Some(dialog.clone()))
        >
            <Icon sign />
        </button>
    }
}

#[component]
fn Rows() -> impl IntoView {
    let t = words();
    let state = state();
    let ids = Memo::new(move |_| state.conversations.with(|all| all.iter().map(|one| one.id).collect::<Vec<_>>()));
    let waiting = Memo::new(move |_| state.requests.with(Vec::len));
    let current = move || if state.route.get() == Route::Requests { Some("page") } else { None };
    let requests = move || {
        (waiting.get() > 0).then(|| {
            view! {
                <a class="row requests-row" href=Route::Requests.link() aria-current=current>
                    <span class="avatar">
                        <Icon sign=Sign::Requests />
                    </span>
                    <span class="row-main">
                        <span class="row-title">{t.requests}</span>
                    </span>
                    <span class="row-side">
                        <span class="badge">{move || waiting.get()}</span>
                    </span>
                </a>
            }
        })
    };
    let nobody = move || {
        let me = state.start.with(|start| match start {
            stonechat_web::protocol::Start::Account { me, .. } => me.handle.to_string(),
            _ => String::new(),
        });
        (state.is_loaded.get() && ids.with(Vec::is_empty)).then(|| {
            view! {
                <div class="empty">
                    <p>{t.no_conversations}</p>
                    <p>{(t.no_conversations_lead)(&me)}</p>
                </div>
            }
        })
    };
    let opening = move || (!state.is_loaded.get()).then(|| view! { <p class="empty late">{t.opening}</p> });
    view! {
        {opening}
        {requests}
        {nobody}
        <Show when=move || ids.with(|ids| !ids.is_empty())>
            <ul class="rows" aria-label=t.conversations>
                <For each=move || ids.get() key=|id| *id children=move |id| view! { <LiveRow id /> } />
            </ul>
        </Show>
    }
}

/// A conversation. The link stays while what it shows changes, so that it keeps the focus.
#[component]
fn LiveRow(id: ConversationId) -> impl IntoView {
    let state = state();
    let route = Route::Conversation(id);
    let link = route.link();
    let conversation = Memo::new(move |_| state.conversation(&id));
    let is_unread = move || conversation.with(|now| now.as_ref().is_some_and(|now| now.unread > 0));
    let current = move || if state.route.get() == route { Some("page") } else { None };
    view! {
        <li>
            <a class="row" class:unread=is_unread href=link aria-current=current>
                {move || conversation.get().map(|of| view! { <RowContent of /> })}
            </a>
        </li>
    }
}

#[component]
fn RowContent(of: Conversation) -> impl IntoView {
    let t = words();
    let line = match (&of.draft, &of.last) {
        (Some(draft), _) if !draft.is_empty() => {
            format!("{} {}", t.draft, draft.0.chars().take(100).collect::<String>())
        }
        _ if !of.active => t.left.to_owned(),
        (_, Some(last)) => preview(last, of.is_group, t),
        _ => String::new(),
    };
    let at = of.last.as_ref().map(|last| last.sent_at.0);
    let unread = of.unread;
    let count = if unread > 99 { "99+".to_owned() } else { unread.to_string() };
    let badge = (unread > 0).then(|| {
        view! {
            <span class="badge" aria-hidden="true">{count}</span>
            <span class="sr-only">{(t.unread)(unread)}</span>
        }
    });
    view! {
        <ConversationPicture of=of.clone() />
        <span class="row-main">
            <span class="row-title" dir="auto">{of.title.0} {of.compared.then(|| view! { <ComparedMark /> })}</span>
            <span class="row-preview" dir="auto">{line}</span>
        </span>
        <span class="row-side">
            {at.map(|at| view! { <time datetime=clock::iso(at)>{clock::short(at, t)}</time> })}
            {badge}
        </span>
    }
}

#[component]
fn FoundRows(found: Found) -> impl IntoView {
    let t = words();
    let state = state();
    let is_nothing = found.conversations.is_empty() && found.messages.is_empty();
    let (more, messages) = (found.more, found.messages);
    let conversations: Vec<_> =
        found.conversations.into_iter().filter(|id| untrack(|| state.conversation(id)).is_some()).collect();
    view! {
        <div class="found" role="status">{is_nothing.then(|| view! { <p class="empty">{t.found_none}</p> })}</div>
        {(!conversations.is_empty())
            .then(|| {
                view! {
                    <h3 class="section-title">{t.found_conversations}</h3>
                    <ul class="rows" aria-label=t.found_conversations>
                        {conversations.into_iter().map(|id| view! { <LiveRow id /> }).collect_view()}
                    </ul>
                }
            })}
        {(!messages.is_empty())
            .then(|| {
                view! {
                    <h3 class="section-title">{t.found_messages}</h3>
                    <ul class="rows" aria-label=t.found_messages>
                        {messages.into_iter().map(|message| view! { <FoundRow message /> }).collect_view()}
                    </ul>
                }
            })}
        {more.then(|| view! { <p class="hint">{t.found_more}</p> })}
    }
}

/// A message that was found: leads to its place in its conversation.
#[component]
fn FoundRow(message: Message) -> impl IntoView {
    let t = words();
    let state = state();
    let of = untrack(|| state.conversation(&message.conversation))?;
    let link = Route::Conversation(of.id).link();
    let at = message.sent_at.0;
    let line = preview(&message, of.is_group, t);
    let title = of.title.0.clone();
    let open = move |event: leptos::ev::MouseEvent| {
        event.prevent_default();
        state.go_to_message(message.conversation, message.key());
    };
    Some(view! {
        <li>
            <a class="row" href=link on:click=open>
                <ConversationPicture of />
                <span class="row-main">
                    <span class="row-title" dir="auto">{title}</span>
                    <span class="row-preview" dir="auto">{line}</span>
                </span>
                <span class="row-side">
                    <time datetime=clock::iso(at)>{clock::short(at, t)}</time>
                </span>
            </a>
        </li>
    })
}

fn search(state: State, text: String, found: RwSignal<Option<Found>>, asked: StoredValue<u64>, now: u64) {
    // Typed on since, or gone.
    let is_last = move || asked.try_get_value() == Some(now);
    if !is_last() {
        return;
    }
    spawn_local(async move {
        let answer = state.ask::<Found>(Request::Search { text: Text(text), limit: FOUND_MAX.min(FOUND_SHOWN) }).await;
        if is_last() {
            found.set(answer.ok());
        }
    });
}

const SEARCHED_AFTER: Duration = Duration::from_millis(150);
const FOUND_SHOWN: u32 = 50;
