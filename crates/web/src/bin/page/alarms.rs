//! Alarms: a banner that cannot be missed, and what happened in words, with the evidence.

use js_sys::Array;
use leptos::prelude::*;
use leptos::task::spawn_local;
use stonechat_api::{Alarm, Command};
use stonechat_wire::DeviceId;
use wasm_bindgen::JsCast as _;

use crate::clock;
use crate::devices::{Own, Revoke};
use crate::dialogs::{Frame, SecondQuestion};
use crate::picture::{Icon, Sign};
use crate::state::{Dialog, state, words};

/// Above everything, while an alarm stands.
#[component]
pub(crate) fn AlarmBanner() -> impl IntoView {
    let t = words().trust;
    let state = state();
    let standing = Memo::new(move |_| {
        let standing: Vec<_> =
            state.alarms.with(|all| all.iter().filter(|one| !one.dismissed).map(|one| one.kind).collect());
        standing
    });
    move || {
        let standing = standing.get();
        let first = *standing.first()?;
        Some(view! {
            <div class="alarms" role="alert">
                <Icon sign=Sign::Failed />
                <p>
                    <strong>{(t.alarm_count)(standing.len())}": "</strong>
                    {(t.alarm)(first)}"."
                </p>
                <button type="button" class="button" on:click=move |_| state.dialog.set(Some(Dialog::Alarms))>
                    {t.alarm_open}
                </button>
            </div>
        })
    }
}

/// The dialog with all of them.
#[component]
pub(crate) fn Alarms() -> impl IntoView {
    let t = words().trust;
    let state = state();
    let own = Own::read();
    let ids = move |dismissed: bool| {
        state
            .alarms
            .with(|all| all.iter().filter(|one| one.dismissed == dismissed).map(|one| one.id).collect::<Vec<_>>())
    };
    let standing = Memo::new(move |_| ids(false));
    let settled = Memo::new(move |_| ids(true));
    let row = move |id| {
        let alarm = state.alarms.with_untracked(|all| all.iter().find(|one| one.id == id).cloned());
        alarm.map(|alarm| view! { <AlarmRow alarm own /> })
    };
    view! {
        <Frame title=t.alarms>
            <Show
                when=move || standing.with(|all| !all.is_empty())
                fallback=move || view! { <p role="status">{t.alarms_none}</p> }
            >
                <ul class="alarm-list" aria-label=t.alarms>
                    <For each=move || standing.get() key=|id| *id children=row />
                </ul>
            </Show>
            {own.said()}
            <Show when=move || settled.with(|all| !all.is_empty())>
                <h3 class="section-title">{t.settled}</h3>
                <ul class="alarm-list settled" aria-label=t.settled>
                    <For each=move || settled.get() key=|id| *id children=row />
                </ul>
            </Show>
        </Frame>
    }
}

#[component]
fn AlarmRow(alarm: Alarm, own: Own) -> impl IntoView {
    let t = words();
    let state = state();
    let name = alarm.evidence_name();
    let Alarm { id, kind, finding, at, device, evidence, dismissed } = alarm;
    let at_ms = at.0;
    let is_asked = RwSignal::new(false);
    let is_busy = RwSignal::new(false);
    let fault = RwSignal::new(None::<String>);
    let settle = Callback::new(move |()| {
        is_busy.set(true);
        spawn_local(async move {
            if let Err(why) = state.run(Command::DismissAlarm { alarm: id }).await {
                let _ = fault.try_set(Some(t.fault(&why)));
            }
            let _ = is_busy.try_set(false);
        });
    });
    let revoke = device.map(|device| {
        let is_there = move |id: &DeviceId| own.list.with(|all| all.iter().any(|one| one.id == *id && !one.this));
        move || is_there(&device).then(|| view! { <Revoke device own /> })
    });
    let question = move || {
        let on_no = Callback::new(move |()| is_asked.set(false));
        let t = t.trust;
        view! { <SecondQuestion text=t.settle_question yes=t.settle_now is_busy on_yes=settle on_no /> }
    };
    view! {
        <li class="alarm-row">
            <h3>{(t.trust.alarm)(kind)}</h3>
            <p>{(t.codes.finding)(&finding)}</p>
            <p class="hint">
                <time datetime=clock::iso(at_ms)>{clock::moment(at_ms, t)}</time>
            </p>
            {evidence.map(|json| view! { <Evidence name json /> })}
            {move || fault.get().map(|text| view! { <p class="error" role="alert">{text}</p> })}
            {revoke}
            {(!dismissed)
                .then(|| {
                    view! {
                        <Show
                            when=move || is_asked.get()
                            fallback=move || {
                                view! {
                                    <div class="actions">
                                        <button type="button" class="button" on:click=move |_| is_asked.set(true)>
                                            {t.trust.settle}
                                        </button>
                                    </div>
                                }
                            }
                        >
                            {question}
                        </Show>
                    }
                })}
        </li>
    }
}

/// A file for whoever wants to check.
#[component]
fn Evidence(name: String, json: String) -> impl IntoView {
    let t = words().trust;
    let command = format!("stonechat audit --evidence {name}");
    let save = move |_| {
        // A browser that cannot do this says so by itself.
        let _ = save(&name, &json);
    };
    view! {
        <div class="actions">
            <button type="button" class="button" on:click=save>
                <Icon sign=Sign::Down />
                {t.evidence}
            </button>
        </div>
        <p class="hint">
            {t.evidence_hint} " " <code translate="no">{command}</code>
        </p>
    }
}

/// Gives the person a file.
fn save(name: &str, content: &str) -> Result<(), wasm_bindgen::JsValue> {
    let kind = web_sys::BlobPropertyBag::new();
    kind.set_type("application/json");
    let blob = web_sys::Blob::new_with_str_sequence_and_options(&Array::of1(&content.into()), &kind)?;
    let address = web_sys::Url::create_object_url_with_blob(&blob)?;
    let link: web_sys::HtmlAnchorElement = document().create_element("a")?.unchecked_into();
    link.set_href(&address);
    link.set_download(name);
    link.click();
    // When the download has long begun.
    set_timeout(
        move || {
            let _ = web_sys::Url::revoke_object_url(&address);
        },
        std::time::Duration::from_secs(60),
    );
    Ok(())
}
