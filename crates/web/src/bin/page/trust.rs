//! Why a lock is closed or open, and safety numbers: shown, typed, scanned.

use leptos::ev::SubmitEvent;
use leptos::prelude::*;
use leptos::task::spawn_local;
use stonechat_api::{Command, Lock, Safety, Why};
use stonechat_web::protocol::Request;
use stonechat_web::view::safety::{drawing, groups};
use stonechat_wire::{ConversationId, Handle};

use crate::camera::Camera;
use crate::clock;
use crate::dialogs::Frame;
use crate::picture::{Icon, Sign};
use crate::start::focus_field;
use crate::state::{Dialog, state, words};

/// The chain of checks behind a lock, in words.
#[component]
pub(crate) fn WhyLock(id: ConversationId) -> impl IntoView {
    let t = words();
    let state = state();
    let why = RwSignal::new(None::<Result<Why, String>>);
    let conversation = Memo::new(move |_| state.head(&id));
    // Whatever changes a lock changes one of these.
    Effect::new(move || {
        conversation.track();
        state.alarms.track();
        spawn_local(async move {
            let answer = state.ask::<Why>(Request::Why { conversation: id }).await.map_err(|fault| t.fault(&fault));
            // The dialog may be gone.
            let _ = why.try_set(Some(answer));
        });
    });
    let title = Signal::derive(move || {
        let is_closed = match why.get() {
            Some(Ok(why)) => why.lock() == Lock::Closed,
            _ => conversation.with(|now| now.as_ref().is_some_and(|now| now.lock == Lock::Closed)),
        };
        if is_closed { t.trust.why_closed } else { t.trust.why_open }
    });
    let others = move || {
        let members = conversation.get().map(|now| now.members).unwrap_or_default();
        let others = members.into_iter().filter(|member| !member.is_me);
        others.map(|member| view! { <CompareWith handle=member.handle /> }).collect_view()
    };
    view! {
        <Frame title>
            {move || match why.get() {
                None => view! { <p role="status">{t.working}</p> }.into_any(),
                Some(Err(text)) => view! { <p class="error" role="alert">{text}</p> }.into_any(),
                Some(Ok(why)) => view! { <Checks why /> }.into_any(),
            }}
            <div class="actions">{others}</div>
        </Frame>
    }
}

#[component]
fn Checks(why: Why) -> impl IntoView {
    let (t, codes) = (words().trust, words().codes);
    let lead = if why.problems.is_empty() { t.all_hold } else { t.not_all_hold };
    let names: Vec<_> = why.compared.iter().map(Handle::to_string).collect();
    let compared = if names.is_empty() { t.compared_none.to_owned() } else { (t.compared_with)(&names.join(", ")) };
    let problems = why.problems.iter().map(|problem| ("check fails", Sign::Failed, t.fails, (codes.problem)(problem)));
    let checks = why.checks.iter().map(|check| ("check", Sign::Sent, t.holds, (codes.check)(check)));
    let rows = problems.chain(checks).map(|(class, sign, says, text)| {
        view! {
            <li class=class>
                <Icon sign />
                <span class="sr-only">{says}</span>
                <span>{text}</span>
            </li>
        }
    });
    view! {
        <p>{lead}</p>
        <ul class="checks" aria-label=lead>
            {rows.collect_view()}
        </ul>
        <p class="hint">{compared}</p>
    }
}

/// Leads to the safety number with somebody.
#[component]
pub(crate) fn CompareWith(handle: Handle) -> impl IntoView {
    let t = words().trust;
    let state = state();
    let name = (t.compare_with)(&handle.to_string());
    view! {
        <button type="button" class="button" on:click=move |_| state.dialog.set(Some(Dialog::Safety(handle.clone())))>
            {name}
        </button>
    }
}

/// Stands beside a name with which safety numbers were compared.
#[component]
pub(crate) fn ComparedMark() -> impl IntoView {
    let t = words().trust;
    view! {
        <span class="compared" role="img" aria-label=t.compared title=t.compared>
            <Icon sign=Sign::Compared />
        </span>
    }
}

/// The safety number with somebody.
#[component]
pub(crate) fn SafetyNumber(with: Handle) -> impl IntoView {
    let t = words();
    let state = state();
    let safety = RwSignal::new(None::<Result<Safety, String>>);
    let verdict = RwSignal::new(None::<Result<String, String>>);
    let is_busy = RwSignal::new(false);
    let with = StoredValue::new(with);
    let read = move || {
        spawn_local(async move {
            let asked = Request::Safety { with: with.get_value() };
            let answer = state.ask::<Safety>(asked).await.map_err(|fault| t.fault(&fault));
            // The dialog may be gone.
            let _ = safety.try_set(Some(answer));
        });
    };
    read();
    let compare = Callback::new(move |shown: String| {
        if is_busy.get_untracked() {
            return;
        }
        is_busy.set(true);
        verdict.set(None);
        let with = with.get_value();
        spawn_local(async move {
            let answer = state.run(Command::Verify { handle: with.clone(), shown }).await;
            let says = answer.map(|_| (t.trust.matches)(&with.to_string())).map_err(|fault| t.fault(&fault));
            let _ = verdict.try_set(Some(says));
            let _ = is_busy.try_set(false);
            read();
        });
    });
    view! {
        <Frame title=t.trust.safety>
            {move || match safety.get() {
                None => view! { <p role="status">{t.working}</p> }.into_any(),
                Some(Err(text)) => view! { <p class="error" role="alert">{text}</p> }.into_any(),
                Some(Ok(safety)) => view! { <Shown safety /> }.into_any(),
            }}
            {move || {
                verdict
                    .get()
                    .map(|says| match says {
                        Ok(text) => view! { <p class="notice good" role="status">{text}</p> }.into_any(),
                        Err(text) => view! { <p class="notice alarm" role="alert">{text}</p> }.into_any(),
                    })
            }}
            <Show when=move || safety.with(|safety| matches!(safety, Some(Ok(_))))>
                <Typed compare is_busy />
                <Scanned compare />
            </Show>
        </Frame>
    }
}

/// Digits and code, as the other side has them too.
#[component]
fn Shown(safety: Safety) -> impl IntoView {
    let t = words();
    let Safety { handle, digits, code, compared } = safety;
    let handle = handle.to_string();
    let digits = groups(&digits).into_iter().map(|group| view! { <li>{group}</li> }).collect_view();
    let picture = drawing(&code).map(|code| {
        view! {
            <svg
                class="code"
                role="img"
                aria-label=(t.trust.code)(&handle)
                viewBox=format!("0 0 {0} {0}", code.side)
                shape-rendering="crispEdges"
            >
                <path d=code.path />
            </svg>
        }
    });
    let compared = match compared {
        Some(at) => view! {
            <p class="compared-line">
                <Icon sign=Sign::Compared />
                <span>{(t.trust.compared_at)(&clock::moment(at.0, t))}</span>
            </p>
        }
        .into_any(),
        None => view! { <p class="hint">{t.trust.not_compared}</p> }.into_any(),
    };
    view! {
        <p>{(t.trust.safety_lead)(&handle)}</p>
        <div class="safety">
            <ol class="digits" aria-label=t.trust.safety translate="no">
                {digits}
            </ol>
            {picture}
        </div>
        {compared}
    }
}

#[component]
fn Typed(compare: Callback<String>, is_busy: RwSignal<bool>) -> impl IntoView {
    let t = words().trust;
    let typed = RwSignal::new(String::new());
    let submit = move |event: SubmitEvent| {
        event.prevent_default();
        let shown = typed.get_untracked();
        if shown.trim().is_empty() {
            focus_field("theirs");
        } else {
            compare.run(shown);
        }
    };
    view! {
        <form class="line" on:submit=submit novalidate>
            <div class="field">
                <label for="theirs">{t.theirs}</label>
                <input
                    id="theirs"
                    type="text"
                    inputmode="numeric"
                    autocomplete="off"
                    spellcheck="false"
                    maxlength="300"
                    aria-describedby="theirs-hint"
                    prop:value=typed
                    on:input=move |event| typed.set(event_target_value(&event))
                />
                <p class="hint" id="theirs-hint">{t.theirs_hint}</p>
            </div>
            <button type="submit" class="button" disabled=move || is_busy.get()>{t.compare}</button>
        </form>
    }
}

#[component]
fn Scanned(compare: Callback<String>) -> impl IntoView {
    let t = words().trust;
    let is_on = RwSignal::new(false);
    let seen = Callback::new(move |text: String| {
        is_on.set(false);
        compare.run(text);
    });
    view! {
        <Show when=move || is_on.get()>
            <Camera seen />
        </Show>
        <div class="actions">
            <button type="button" class="button" on:click=move |_| is_on.update(|is_on| *is_on = !*is_on)>
                <Icon sign=Sign::Camera />
                {move || if is_on.get() { t.scan_stop } else { t.scan }}
            </button>
        </div>
    }
}
