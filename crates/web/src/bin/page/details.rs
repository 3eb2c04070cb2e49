//! Details of a conversation: what the lock says, who is in it, and what one may do there.

use leptos::ev::SubmitEvent;
use leptos::prelude::*;
use leptos::task::spawn_local;
use stonechat_api::{Command, Conversation, Lock, Member, Role, Target, Text};
use stonechat_web::protocol::Request;
use stonechat_wire::{ConversationId, Handle};

use crate::dialogs::{Field, Frame, SecondQuestion, parse_handles};
use crate::picture::{ConversationPicture, Picture};
use crate::state::{Dialog, State, state, words};
use crate::text::Words;
use crate::trust::ComparedMark;

/// What is done only after a second question.
#[derive(Clone, PartialEq)]
enum Step {
    Leave,
    Remove(Handle),
    GiveOwnership(Handle),
}

/// What the parts of the dialog share.
#[derive(Clone, Copy)]
struct Acting {
    state: State,
    t: &'static Words,
    id: StoredValue<ConversationId>,
    is_busy: RwSignal<bool>,
    fault: RwSignal<Option<String>>,
    /// Which second question stands there.
    asked: RwSignal<Option<Step>>,
}

impl Acting {
    /// Does something in this group, and says what became of it.
    fn act(self, command: impl FnOnce(ConversationId) -> Command, after: impl FnOnce() + 'static) {
        if self.is_busy.get_untracked() {
            return;
        }
        self.is_busy.set(true);
        self.fault.set(None);
        self.asked.set(None);
        let command = command(self.id.get_value());
        spawn_local(async move {
            match self.state.run(command).await {
                Ok(_) => after(),
                Err(why) => self.fault.set(Some(self.t.fault(&why))),
            }
            self.is_busy.set(false);
        });
    }

    fn do_it(self, step: Step) {
        match step {
            Step::Leave => self.act(|group| Command::Leave { group }, move || self.state.dialog.set(None)),
            Step::Remove(member) => self.act(|group| Command::RemoveMember { group, member }, || {}),
            Step::GiveOwnership(member) => {
                self.act(|group| Command::SetRole { group, member, role: Role::Owner }, || {});
            }
        }
    }
}

/// The dialog.
#[component]
pub(crate) fn Details(id: ConversationId) -> impl IntoView {
    let t = words();
    let state = state();
    let acting = Acting {
        state,
        t,
        id: StoredValue::new(id),
        is_busy: RwSignal::new(false),
        fault: RwSignal::new(None),
        asked: RwSignal::new(None),
    };
    let conversation = Memo::new(move |_| state.head(&id));
    let is_group = conversation.with_untracked(|now| now.as_ref().is_some_and(|now| now.is_group));
    view! {
        <Frame title=if is_group { t.group_details } else { t.person_details }>
            {move || conversation.get().map(|of| view! { <About of /> })}
            {move || acting.fault.get().map(|text| view! { <p class="error" role="alert">{text}</p> })}
            <Question acting />
            {move || conversation.get().map(|of| view! { <Members of acting /> })}
            <Show when=move || conversation.with(|now| now.as_ref().is_some_and(|now| now.is_group && now.active))>
                <Show when=move || conversation.with(|now| now.as_ref().is_some_and(|now| now.role >= Role::Admin))>
                    <AddMembers acting />
                    <Rename acting />
                </Show>
                <div class="actions">
                    <button type="button" class="button danger" on:click=move |_| acting.asked.set(Some(Step::Leave))>
                        {t.leave}
                    </button>
                </div>
            </Show>
        </Frame>
    }
}

#[component]
fn About(of: Conversation) -> impl IntoView {
    let t = words();
    let (class, says, why, detail) = match of.lock.clone() {
        Lock::Closed if of.is_group => ("notice encrypted", t.lock_closed_group, None, t.lock_closed_detail),
        Lock::Closed => ("notice encrypted", t.lock_closed, None, t.lock_closed_detail),
        Lock::Open(why) => ("notice alarm", t.not_verified, Some((t.codes.problem)(&why)), t.lock_open_detail),
    };
    let encrypted = if of.lock == Lock::Closed { t.encrypted } else { t.encrypted_unverified };
    let asks = if of.lock == Lock::Closed { t.trust.why_closed } else { t.trust.why_open };
    let (state, why_dialog) = (state(), Dialog::Why(of.id));
    let account = of.peer.map(|peer| {
        view! {
            <dl class="facts">
                <dt>{t.account_id}</dt>
                <dd class="id" translate="no">{peer.to_string()}</dd>
            </dl>
        }
    });
    view! {
        <div class="about">
            <ConversationPicture of=of.clone() large=true />
            <p class="about-title" dir="auto">{of.title.0}</p>
        </div>
        <div class=class>
            <p>
                <strong>{says}</strong>
                {why.map(|why| view! { " " <span>{why}</span> })}
            </p>
            <p>{encrypted}</p>
            <details>
                <summary>{t.lock_why}</summary>
                <p>{detail}</p>
            </details>
            <button type="button" class="button quiet" on:click=move |_| state.dialog.set(Some(why_dialog.clone()))>
                {asks}
            </button>
        </div>
        {account}
    }
}

#[component]
fn Members(of: Conversation, acting: Acting) -> impl IntoView {
    let t = words();
    let Conversation { members, role, is_group, active, .. } = of;
    let may = if is_group && active { Some(role) } else { None };
    let count = members.len();
    let mut members = members;
    members.sort_by(|a, b| b.role.cmp(&a.role).then_with(|| a.handle.cmp(&b.handle)));
    let rows = members.into_iter().map(|member| view! { <MemberRow member may is_group acting /> }).collect_view();
    view! {
        <h3 class="section-title">{if is_group { format!("{} · {count}", t.members) } else { t.members.to_owned() }}</h3>
        {may.map(|role| view! { <p class="hint">{(t.role_lead)(role)}</p> })}
        <ul class="members" aria-label=t.members>
            {rows}
        </ul>
    }
}

#[component]
fn MemberRow(member: Member, may: Option<Role>, is_group: bool, acting: Acting) -> impl IntoView {
    let t = words();
    let state = acting.state;
    let Member { account, handle, role, devices, is_me, compared } = member;
    let button = |name: String, short: &'static str, class: &'static str, act: Box<dyn Fn()>| {
        view! {
            <button type="button" class=class aria-label=name disabled=move || acting.is_busy.get() on:click=move |_| act()>
                {short}
            </button>
        }
    };
    let mut actions = Vec::new();
    if !is_me {
        let with = handle.clone();
        let show = move || state.dialog.set(Some(Dialog::Safety(with.clone())));
        let name = format!("{}: {handle}", t.trust.safety);
        actions.push(button(name, t.trust.safety, "button quiet", Box::new(show)));
    }
    if is_group && !is_me {
        let to = handle.clone();
        let write = move || {
            let handle = to.clone();
            spawn_local(async move {
                let person = Target::Person(handle.clone());
                if let Ok(found) = state.ask::<Option<ConversationId>>(Request::Open { to: person }).await {
                    state.dialog.set(None);
                    state.go_to_person(handle, found);
                }
            });
        };
        actions.push(button((t.write_to)(&handle.to_string()), t.write_short, "button quiet", Box::new(write)));
    }
    if may == Some(Role::Owner) && !is_me {
        let other = if role == Role::Admin { Role::Member } else { Role::Admin };
        let member = handle.clone();
        let set = move || {
            let member = member.clone();
            acting.act(|group| Command::SetRole { group, member, role: other }, || {});
        };
        actions.push(button(format!("{}: {handle}", (t.make)(other)), (t.make)(other), "button quiet", Box::new(set)));
        if role == Role::Admin {
            let member = handle.clone();
            let give = move || acting.asked.set(Some(Step::GiveOwnership(member.clone())));
            let short = (t.make)(Role::Owner);
            let name = format!("{short}: {handle}");
            actions.push(button(name, short, "button quiet", Box::new(give)));
        }
    }
    let may_remove = match may {
        Some(Role::Owner) => !is_me,
        Some(Role::Admin) => !is_me && role == Role::Member,
        Some(Role::Member) | None => false,
    };
    if may_remove {
        let member = handle.clone();
        let remove = move || acting.asked.set(Some(Step::Remove(member.clone())));
        actions.push(button((t.remove)(&handle.to_string()), t.remove_short, "button quiet danger", Box::new(remove)));
    }
    let facts = if is_group { format!("{} · {}", (t.role)(role), (t.devices)(devices)) } else { (t.devices)(devices) };
    view! {
        <li class="member">
            <Picture id=account.to_string() />
            <div class="member-main">
                <p class="row-title">
                    {if is_me { format!("{handle} ({})", t.you.trim_end_matches(':')) } else { handle.to_string() }} " "
                    {compared.then(|| view! { <ComparedMark /> })}
                </p>
                <p class="row-preview">{facts}</p>
            </div>
            <div class="member-actions">{actions.collect_view()}</div>
        </li>
    }
}

/// The second question.
#[component]
fn Question(acting: Acting) -> impl IntoView {
    let t = words();
    move || {
        acting.asked.get().map(|step| {
            let (text, name) = match &step {
                Step::Leave => (t.leave_lead.to_owned(), t.leave.to_owned()),
                Step::Remove(who) => ((t.remove_lead)(&who.to_string()), (t.remove)(&who.to_string())),
                Step::GiveOwnership(who) => {
                    ((t.give_ownership_lead)(&who.to_string()), (t.make_whom)(Role::Owner, &who.to_string()))
                }
            };
            let on_yes = Callback::new(move |()| acting.do_it(step.clone()));
            let on_no = Callback::new(move |()| acting.asked.set(None));
            view! { <SecondQuestion text yes=name is_danger=true on_yes on_no /> }
        })
    }
}

#[component]
fn AddMembers(acting: Acting) -> impl IntoView {
    let t = words();
    let typed = RwSignal::new(String::new());
    let fault = RwSignal::new(None::<String>);
    let submit = move |event: SubmitEvent| {
        event.prevent_default();
        match parse_handles(&typed.get_untracked()) {
            Ok(members) => {
                fault.set(None);
                acting.act(|group| Command::AddMembers { group, members }, move || typed.set(String::new()));
            }
            Err(why) => fault.set(Some((t.handle_bad)(why).to_owned())),
        }
    };
    view! {
        <form class="line" on:submit=submit novalidate>
            <Field id="add-members" name=t.add_members value=typed fault />
            <button type="submit" class="button" disabled=move || acting.is_busy.get()>{t.add}</button>
        </form>
    }
}

#[component]
fn Rename(acting: Acting) -> impl IntoView {
    let t = words();
    let title =
        acting.id.with_value(|id| untrack(|| acting.state.conversation(id))).map(|of| of.title.0).unwrap_or_default();
    let typed = RwSignal::new(title);
    let submit = move |event: SubmitEvent| {
        event.prevent_default();
        let name = Text(typed.get_untracked().trim().to_owned());
        acting.act(|group| Command::Rename { group, name }, || {});
    };
    view! {
        <form class="line" on:submit=submit novalidate>
            <Field id="rename" name=t.group_name value=typed fault=RwSignal::new(None::<String>) is_prose=true />
            <button type="submit" class="button" disabled=move || acting.is_busy.get()>{t.rename}</button>
        </form>
    }
}
