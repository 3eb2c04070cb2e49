//! Before there are conversations: signing up, the recovery words, and what to say where nothing works.

use leptos::ev::SubmitEvent;
use leptos::prelude::*;
use leptos::task::spawn_local;
use stonechat_api::Me;
use stonechat_web::protocol::{Fault, RecoveryWords, Request};
use stonechat_wire::Handle;

use crate::state::{state, words};

/// A card in the middle of an otherwise empty page.
#[component]
fn Card(
    title: &'static str,
    /// What has the focus when it appears.
    #[prop(default = "pane-title")]
    focus: &'static str,
    children: Children,
) -> impl IntoView {
    Effect::new(move || focus_field(focus));
    view! {
        <main class="screen">
            <div class="card">
                <p class="brand no-print">
                    <span class="mark" aria-hidden={"true"}></span>
                    <span>{BRAND}</span>
                </p>
                <h1 id="pane-title" tabindex="-1">{title}</h1>
                {children()}
            </div>
        </main>
    }
}

/// The vault is being opened.
#[component]
pub(crate) fn Opening() -> impl IntoView {
    let t = words();
    view! {
        <main class="screen">
            <h1 class="sr-only">{BRAND}</h1>
            <div class="empty" role="status">
                <span class="mark" aria-hidden={"true"}></span>
                <p class="late">{t.opening}</p>
            </div>
        </main>
    }
}

/// Nothing can be done here.
#[component]
pub(crate) fn Broken(fault: Fault) -> impl IntoView {
    let t = words();
    let state = state();
    let can_erase = matches!(fault, Fault::StorageBroken { .. });
    let failed = RwSignal::new(None::<String>);
    let is_sure = RwSignal::new(false);
    let erase = move |_| {
        if !is_sure.get_untracked() {
            is_sure.set(true);
            return;
        }
        spawn_local(async move {
            if let Err(why) = state.ask::<()>(Request::SignOut).await {
                failed.set(Some(t.fault(&why)));
            }
        });
    };
    view! {
        <Card title=t.broken>
            <p role="alert">{t.fault(&fault)}</p>
            {move || failed.get().map(|text| view! { <p class="error" role="alert">{text}</p> })}
            {move || {
                is_sure
                    .get()
                    .then(|| view! { <p>{t.sign_out_lead}</p> <ul>{t.sign_out_lost.into_iter().map(|lost| view! { <li>{lost}</li> }).collect_view()}</ul> })
            }}
            <div class="actions">
                <button
                    type="button"
                    class="button primary"
                    on:click=|_| {
                        let _ = window().location().reload();
                    }
                >
                    {t.reload}
                </button>
                {can_erase
                    .then(|| {
                        view! {
                            <button type="button" class="button danger" on:click=erase>
                                {t.broken_erase}
                            </button>
                        }
                    })}
            </div>
        </Card>
    }
}

/// Picks a handle.
#[component]
pub(crate) fn SignUp(unfinished: Option<Handle>) -> impl IntoView {
    let t = words();
    let state = state();
    let typed = RwSignal::new(unfinished.as_ref().map(|handle| handle.as_str().to_owned()).unwrap_or_default());
    // Nobody is told that a handle is too short while typing it.
    let was_sent = RwSignal::new(false);
    let fault = RwSignal::new(None::<String>);
    let is_busy = RwSignal::new(false);
    let checked = move || parse_handle(&typed.get());
    let problem = move || match fault.get() {
        Some(fault) => Some(fault),
        None => match checked() {
            Err(stonechat_wire::HandleError::Empty) if !was_sent.get() => None,
            Err(error) => Some((t.handle_bad)(error).to_owned()),
            Ok(_) => None,
        },
    };
    let submit = move |event: SubmitEvent| {
        event.prevent_default();
        was_sent.set(true);
        let Ok(handle) = parse_handle(&typed.get_untracked()) else { return focus_field("handle") };
        if is_busy.get_untracked() {
            return;
        }
        is_busy.set(true);
        fault.set(None);
        // Asked after a click, as browsers want it; who says no is told later what that means.
        spawn_local(async move {
            state.persist().await;
        });
        spawn_local(async move {
            if let Err(why) = state.ask::<RecoveryWords>(Request::SignUp { handle }).await {
                fault.set(Some(t.fault(&why)));
                is_busy.set(false);
                focus_field("handle");
            }
            // Else the start changes, and this screen with it.
        });
    };
    view! {
        <Card title=t.sign_up focus="handle">
            <p class="lead">{t.sign_up_lead}</p>
            {unfinished.map(|handle| view! { <p class="notice" role="status">{(t.unfinished)(&handle.to_string())}</p> })}
            <form on:submit=submit novalidate>
                <div class="field">
                    <label for="handle">{t.handle}</label>
                    <div class="handle-input">
                        <span aria-hidden={"true"}>"@"</span>
                        <input
                            id="handle"
                            type="text"
                            autocomplete="off"
                            autocapitalize="none"
                            spellcheck="false"
                            maxlength="40"
                            aria-describedby="handle-hint handle-error"
                            aria-invalid=move || problem().is_some().to_string()
                            prop:value=typed
                            on:input=move |event| {
                                fault.set(None);
                                typed.set(event_target_value(&event));
                            }
                        />
                    </div>
                    <p class="hint" id="handle-hint">{t.handle_hint}</p>
                    <div id="handle-error">
                        {move || problem().map(|text| view! { <p class="error" role="alert">{text}</p> })}
                    </div>
                </div>
                <div class="actions">
                    <button type="submit" class="button primary" aria-disabled=move || is_busy.get().to_string()>
                        {t.create_account}
                    </button>
                </div>
                <p class="hint" role="status">{move || if is_busy.get() { t.creating } else { t.keys_stay }}</p>
            </form>
        </Card>
    }
}

/// Shows the recovery words, and asks for three of them.
#[component]
pub(crate) fn Words(me: Me) -> impl IntoView {
    let t = words();
    let state = state();
    let answer = RwSignal::new(None::<Result<RecoveryWords, Fault>>);
    let is_confirming = RwSignal::new(false);
    spawn_local(async move {
        answer.set(Some(state.ask(Request::RecoveryWords).await));
    });
    let me = StoredValue::new(me);
    move || match answer.get() {
        None => view! { <Opening /> }.into_any(),
        Some(Err(fault)) => view! { <Broken fault /> }.into_any(),
        Some(Ok(words)) if is_confirming.get() => view! { <Confirm words is_confirming /> }.into_any(),
        Some(Ok(words)) => {
            let Me { handle, server, .. } = me.get_value();
            let list = words.0.into_iter().map(|word| view! { <li>{word}</li> }).collect_view();
            view! {
                <Card title=t.words_title>
                    <p class="lead">{t.words_lead}</p>
                    <p class="print-only">{(t.words_for)(&handle.to_string(), &server)}</p>
                    <ol class="words" aria-label=t.words_list translate="no">{list}</ol>
                    <div class="actions no-print">
                        <button type="button" class="button primary" on:click=move |_| is_confirming.set(true)>
                            {t.written_down}
                        </button>
                        <button
                            type="button"
                            class="button"
                            on:click=|_| {
                                let _ = window().print();
                            }
                        >
                            {t.print}
                        </button>
                    </div>
                </Card>
            }
            .into_any()
        }
    }
}

#[component]
fn Confirm(words: RecoveryWords, is_confirming: RwSignal<bool>) -> impl IntoView {
    let t = crate::state::words();
    let state = state();
    let words = StoredValue::new(words);
    let asked = three_of(words.with_value(|words| words.0.len()));
    let typed = asked.map(|_| RwSignal::new(String::new()));
    let wrong = RwSignal::new(None::<usize>);
    let failed = RwSignal::new(None::<String>);
    let submit = move |event: SubmitEvent| {
        event.prevent_default();
        let is_right = |at: usize| {
            let word = typed[at].get_untracked().trim().to_lowercase();
            words.with_value(|words| words.0.get(asked[at]).is_some_and(|right| *right == word))
        };
        let first_wrong = (0..asked.len()).find(|at| !is_right(*at));
        wrong.set(first_wrong);
        match first_wrong {
            Some(at) => focus_field(&format!("word-{at}")),
            None => spawn_local(async move {
                if let Err(why) = state.ask::<()>(Request::WordsWrittenDown).await {
                    failed.set(Some(t.fault(&why)));
                }
            }),
        }
    };
    let fields = (0..asked.len()).map(move |at| {
        let (number, id) = (asked[at] + 1, format!("word-{at}"));
        let hint = format!("word-error-{at}");
        let is_wrong = move || wrong.get() == Some(at);
        view! {
            <div class="field">
                <label for=id.clone()>{(t.word)(number)}</label>
                <input
                    id=id
                    type="text"
                    autocomplete="off"
                    autocapitalize="none"
                    spellcheck="false"
                    maxlength="40"
                    aria-describedby=hint.clone()
                    aria-invalid=move || is_wrong().to_string()
                    prop:value=typed[at]
                    on:input=move |event| {
                        wrong.set(None);
                        typed[at].set(event_target_value(&event));
                    }
                />
                <div id=hint>
                    {move || is_wrong().then(|| view! { <p class="error" role="alert">{(t.word_wrong)(number)}</p> })}
                </div>
            </div>
        }
    });
    view! {
        <Card title=t.confirm_title focus="word-0">
            <p class="lead">{t.confirm_lead}</p>
            <form on:submit=submit novalidate>
                {fields.collect_view()}
                {move || failed.get().map(|text| view! { <p class="error" role="alert">{text}</p> })}
                <div class="actions">
                    <button type="submit" class="button primary">{t.confirm}</button>
                    <button type="button" class="button quiet" on:click=move |_| is_confirming.set(false)>
                        {t.words_again}
                    </button>
                </div>
            </form>
        </Card>
    }
}

/// A handle as people type it: with or without `@`, in any case.
pub(crate) fn parse_handle(typed: &str) -> Result<Handle, stonechat_wire::HandleError> {
    Handle::parse(&typed.trim().to_lowercase())
}

/// Puts the cursor into a field, once it is drawn.
pub(crate) fn focus_field(id: &str) {
    use wasm_bindgen::JsCast as _;
    let id = id.to_owned();
    request_animation_frame(move || {
        let field = document().get_element_by_id(&id);
        if let Some(field) = field.and_then(|field| field.dyn_into::<web_sys::HtmlElement>().ok()) {
            let _ = field.focus();
        }
    });
}

/// Three different places in order, one from each third.
fn three_of(count: usize) -> [usize; 3] {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "small numbers"
    )]
    let any = |below: usize| (js_sys::Math::random() * below as f64) as usize;
    let third = count / 3;
    [any(third), third + any(third), 2 * third + any(count - 2 * third)]
}

/// Not translated.
pub(crate) const BRAND: &str = "Stonechat";
