//! A conversation: who it is with, whether that is verified, its messages, and where one writes.

use leptos::ev::{KeyboardEvent, WheelEvent};
use leptos::html::Div;
use leptos::prelude::*;
use stonechat_api::{Conversation, Lock, Target};
use stonechat_wire::ConversationId;
use wasm_bindgen::JsCast as _;
use wasm_bindgen::closure::Closure;

use crate::composer::{Composer, focus_composer, is_touch};
use crate::log::{VIEW, scroll_to_end};
use crate::message::MessageRow;
use crate::picture::{ConversationPicture, Icon, Picture, Sign};
use crate::state::{Dialog, Route, state, words};
use crate::trust::ComparedMark;

/// The conversation with this id.
#[component]
pub(crate) fn ConversationPane(id: ConversationId) -> impl IntoView {
    let t = words();
    let state = state();
    let log = state.log;
    let conversation = Memo::new(move |_| state.head(&id));
    let draft = move || untrack(|| state.conversation(&id)).and_then(|now| now.draft).unwrap_or_default().0;
    let text = RwSignal::new(String::new());
    let to = Target::Conversation(id);
    // Conversations are read once when the page opens: until then none is gone.
    let is_there = Memo::new(move |_| conversation.with(Option::is_some));
    Effect::new(move || {
        if is_there.get() {
            if text.with_untracked(String::is_empty) {
                text.set(draft());
            }
            log.open(state, id);
            focus_pane();
        }
    });
    let on_again = Callback::new(move |again: String| {
        text.update(|text| text.insert_str(0, &again));
        focus_composer();
    });
    let is_group = Memo::new(move |_| conversation.with(|now| now.as_ref().is_some_and(|now| now.is_group)));
    let is_verified =
        Memo::new(move |_| conversation.with(|now| now.as_ref().is_some_and(|now| now.lock == Lock::Closed)));
    let is_active = Memo::new(move |_| conversation.with(|now| now.as_ref().is_none_or(|now| now.active)));
    view! {
        <Show
            when=move || is_there.get()
            fallback=move || view! { <Nothing text=if state.is_loaded.get() { t.gone } else { "" } late=true /> }
        >
            <header class="bar">{move || conversation.get().map(|now| view! { <Title of=now /> })}</header>
            {move || conversation.get().map(|now| view! { <Notices of=now /> })}
            <Messages is_group is_verified on_again />
            {
                let to = to.clone();
                move || {
                    if is_active.get() {
                        view! { <Composer to=to.clone() text /> }.into_any()
                    } else {
                        view! { <p class="notice" role="status">{t.not_in_it}</p> }.into_any()
                    }
                }
            }
        </Show>
    }
}

/// A first message to somebody.
#[component]
pub(crate) fn NewConversation() -> impl IntoView {
    let t = words();
    let state = state();
    Effect::new(move || {
        if state.person.with(Option::is_none) {
            // The page was reloaded; whom it was is not kept in the address.
            state.go(&Route::List);
        } else {
            focus_pane();
        }
    });
    view! {
        {move || {
            state
                .person
                .get()
                .map(|person| {
                    let handle = person.to_string();
                    let text = RwSignal::new(String::new());
                    view! {
                        <header class="bar">
                            <BackLink />
                            <Picture id="" />
                            <div class="bar-title">
                                <h2 id="pane-title" tabindex="-1">{handle.clone()}</h2>
                            </div>
                        </header>
                        <div class="log" id=VIEW role="log" aria-label=t.messages tabindex="0">
                            <p class="notice encrypted">{(t.encrypted_first)(&handle)}</p>
                            <p class="notice">{(t.first_message)(&handle)}</p>
                        </div>
                        <Composer to=Target::Person(person) text />
                    }
                })
        }}
    }
}

#[component]
fn Title(of: Conversation) -> impl IntoView {
    let t = words();
    let state = state();
    let id = of.id;
    let sub = if of.is_group { (t.people)(of.members.len()) } else { String::new() };
    let why = Dialog::Why(of.id);
    let (says, asks) = match of.lock {
        Lock::Closed => (t.verified, t.trust.why_closed),
        Lock::Open(_) => (t.not_verified, t.trust.why_open),
    };
    view! {
        <BackLink />
        <button
            type="button"
            class="button quiet lock-button"
            aria-label=format!("{says}. {asks}")
            title=asks
            on:click=move |_| state.dialog.set(Some(why.clone()))
        >
            <ConversationPicture of=of.clone() />
        </button>
        <div class="bar-title">
            <h2 id="pane-title" tabindex="-1">
                {of.title.0} {of.compared.then(|| view! { <ComparedMark /> })}
            </h2>
            <p class="bar-sub">{sub}</p>
        </div>
        <button
            type="button"
            class="button quiet icon"
            aria-label=t.details
            title=t.details
            on:click=move |_| state.dialog.set(Some(Dialog::Details(id)))
        >
            <Icon sign=Sign::Details />
        </button>
    }
}

/// What one must know before one writes.
#[component]
fn Notices(of: Conversation) -> impl IntoView {
    let t = words();
    let state = state();
    let id = of.id;
    let refused = move || {
        let all = state.refused.get();
        let here: Vec<_> = all.into_iter().filter(|(place, _)| *place == Some(id)).collect();
        here.into_iter()
            .map(|(_, what)| view! { <p class="notice alarm" role="alert">{t.refused} " " {(t.codes.refusal)(&what)}</p> })
            .collect_view()
    };
    let details = Dialog::Why(of.id);
    let lock = match of.lock {
        Lock::Closed => None,
        Lock::Open(why) => Some(view! {
            <p class="notice alarm" role="alert">
                <strong>{t.not_verified}": "</strong>
                <span>{(t.codes.problem)(&why)}</span>
                " "
                <button type="button" class="button quiet" on:click=move |_| state.dialog.set(Some(details.clone()))>
                    {t.trust.why_open}
                </button>
            </p>
        }),
    };
    view! {
        {lock}
        {refused}
        {of.hold.map(|hold| view! { <p class="notice" role="status">{(t.codes.hold)(&hold)}</p> })}
    }
}

#[component]
fn Messages(is_group: Memo<bool>, is_verified: Memo<bool>, on_again: Callback<String>) -> impl IntoView {
    let t = words();
    let state = state();
    let log = state.log;
    let frame = NodeRef::<Div>::new();
    let rows = Memo::new(move |_| log.rows());
    // When the box below grows or a keyboard opens, who was at the end stays there.
    Effect::new(move || {
        let Some(frame) = frame.get() else { return };
        let act = Closure::<dyn Fn()>::new(move || {
            if log.is_at_end.try_get_untracked() == Some(true) {
                scroll_to_end();
            }
        });
        if let Ok(observer) = web_sys::ResizeObserver::new(act.as_ref().unchecked_ref()) {
            observer.observe(&frame);
            let kept = StoredValue::new_local((observer, act));
            on_cleanup(move || kept.with_value(|(observer, _)| observer.disconnect()));
        }
    });
    let encrypted = move || {
        let text = if is_verified.get() { t.encrypted } else { t.encrypted_unverified };
        (log.is_ready.get() && log.has_start()).then(|| view! { <p class="notice encrypted">{text}</p> })
    };
    view! {
        <div class="log-frame">
            <div
                class="log"
                id=VIEW
                role="log"
                aria-label=t.messages
                aria-live="off"
                tabindex="0"
                node_ref=frame
                on:scroll=move |_| log.scrolled(state)
                on:wheel=move |event: WheelEvent| {
                    if event.delta_y() < 0.0 {
                        log.turn_back();
                    }
                }
                on:touchmove=move |_| log.turn_back()
                on:keydown=move |event: KeyboardEvent| {
                    if matches!(event.key().as_str(), "ArrowUp" | "PageUp" | "Home") {
                        log.turn_back();
                    }
                }
            >
                <div class="log-rows">
                    {encrypted}
                    {move || log.fault.get().map(|fault| view! { <p class="error" role="alert">{t.fault(&fault)}</p> })}
                    <For
                        each=move || rows.get()
                        key=super::log::Row::identity
                        children=move |row| view! { <MessageRow row is_group=is_group.get_untracked() on_again /> }
                    />
                </div>
            </div>
            <Show when=move || !log.is_at_end.get() && log.is_ready.get()>
                <button type="button" class="button to-latest" on:click=move |_| log.to_latest(state)>
                    <Icon sign=Sign::Down />
                    <span>{t.to_latest}</span>
                    {move || {
                        let fresh = log.fresh.get();
                        (fresh > 0)
                            .then(|| {
                                view! {
                                    <span class="badge" aria-hidden="true">{fresh}</span>
                                    <span class="sr-only">{(t.unread)(fresh)}</span>
                                }
                            })
                    }}
                </button>
            </Show>
        </div>
    }
}

/// What a pane without a conversation says.
#[component]
pub(crate) fn Nothing(
    text: &'static str,
    /// Said only when it stays so: what was just begun is there in a moment.
    #[prop(optional)]
    late: bool,
) -> impl IntoView {
    view! {
        <div class="empty">
            <span class="mark" aria-hidden={"true"}></span>
            <p class:late=late>{text}</p>
        </div>
    }
}

/// Back to the list, where there is room for one pane only.
#[component]
pub(crate) fn BackLink() -> impl IntoView {
    let t = words();
    view! {
        <a class="button quiet icon back" href=Route::List.link() aria-label=t.back title=t.back>
            <Icon sign=Sign::Back />
        </a>
    }
}

/// Takes the focus to the pane that has opened: where one writes, or its title.
pub(crate) fn focus_pane() {
    request_animation_frame(|| {
        // A dialog keeps it.
        if document().query_selector("dialog[open]").ok().flatten().is_some() {
            return;
        }
        if !is_touch() && document().get_element_by_id("message").is_some() {
            focus_composer();
            return;
        }
        let title = document().get_element_by_id("pane-title");
        if let Some(title) = title.and_then(|title| title.dyn_into::<web_sys::HtmlElement>().ok()) {
            let _ = title.focus();
        }
    });
}
