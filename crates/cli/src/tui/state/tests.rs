use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use stonechat_client::{Role, Status, Target};

use super::super::testing::{alice, conversation_id, dm, group, handle, message, request};
use super::*;

/// Alice with Bob (two unread), a group and a request from Dave.
fn app() -> App {
    let mut app = App { page: 10, ..App::default() };
    app.news(News::Me(alice()));
    app.news(News::Conversations(vec![dm(1, "bob", 2), group(2, "team")]));
    app.news(News::Requests(vec![request("dave")]));
    app
}

fn press(app: &mut App, code: KeyCode) -> Vec<Action> {
    app.key(KeyEvent::new(code, KeyModifiers::NONE))
}

fn hold(app: &mut App, with: KeyModifiers, code: KeyCode) -> Vec<Action> {
    app.key(KeyEvent::new(code, with))
}

fn write(app: &mut App, text: &str) {
    for c in text.chars() {
        assert_eq!(press(app, KeyCode::Char(c)), []);
    }
}

fn opened() -> App {
    let mut app = app();
    press(&mut app, KeyCode::Enter);
    let messages = (1..=20).map(|n| message(1, n, if n % 2 == 0 { "alice" } else { "bob" }, "hello")).collect();
    app.news(News::Messages { conversation: conversation_id(1), messages, limit: PAGE_MESSAGES });
    app
}

#[test]
fn the_first_conversation_is_selected_and_enter_opens_reads_and_marks_it() {
    let mut app = app();
    let actions = press(&mut app, KeyCode::Enter);
    let conversation = conversation_id(1);
    assert_eq!(actions, [Action::Load { conversation, limit: PAGE_MESSAGES }, Action::MarkRead(conversation)]);
    assert_eq!((app.focus, &app.open), (Focus::Pane, &Open::Conversation(conversation)));
}

#[test]
fn what_is_typed_is_sent_and_the_composer_is_empty_again() {
    let mut app = opened();
    write(&mut app, "hi q ?");
    hold(&mut app, KeyModifiers::ALT, KeyCode::Enter);
    write(&mut app, "there");
    let sent = press(&mut app, KeyCode::Enter);
    assert_eq!(sent, [Action::Send { to: Target::Conversation(conversation_id(1)), text: "hi q ?\nthere".into() }]);
    assert!(app.composer.is_empty());
    assert_eq!(press(&mut app, KeyCode::Enter), [], "nothing to send");
}

#[test]
fn a_text_over_the_limit_stays_in_the_composer_with_both_numbers_named() {
    let mut app = opened();
    app.paste(&"x".repeat(102_400));
    assert_eq!(press(&mut app, KeyCode::Enter), []);
    assert!(app.said.as_ref().is_some_and(|said| said.contains("102400") && said.contains("65536")), "{:?}", app.said);
    assert_eq!(app.composer.text().len(), 102_400);
}

#[test]
fn a_draft_stays_with_its_conversation() {
    let mut app = opened();
    write(&mut app, "for bob");
    hold(&mut app, KeyModifiers::CONTROL, KeyCode::Char('n'));
    assert_eq!(app.open, Open::Conversation(conversation_id(2)));
    assert!(app.composer.is_empty());
    hold(&mut app, KeyModifiers::CONTROL, KeyCode::Char('p'));
    assert_eq!(app.composer.text(), "for bob");
}

#[test]
fn a_message_shows_once_and_its_status_moves() {
    let mut app = opened();
    let mut sent = message(1, 77, "alice", "new");
    sent.status = Status::Queued;
    app.news(News::Message(sent.clone()));
    sent.status = Status::Sent;
    app.news(News::Message(sent));
    app.news(News::Message(message(2, 78, "bob", "elsewhere")));
    assert_eq!(app.messages.len(), 21);
    assert_eq!(app.messages[20].status, Status::Sent);
    let mut old = message(1, 79, "alice", "long ago");
    old.status = Status::Delivered;
    app.news(News::Message(old));
    assert_eq!(app.messages.len(), 21, "what is not loaded is not shown at the end");
}

#[test]
fn scrolling_up_holds_the_place_while_messages_arrive() {
    let mut app = opened();
    press(&mut app, KeyCode::PageUp);
    assert_eq!(app.scroll, 9);
    app.news(News::Message(message(1, 90, "bob", "new")));
    assert_eq!((app.newer(), app.scroll), (1, 9));
    app.news(News::Conversations(vec![dm(1, "bob", 1)]));
    assert_eq!(press(&mut app, KeyCode::PageDown), [Action::MarkRead(conversation_id(1))], "seen only at the bottom");
    assert_eq!((app.newer(), app.scroll, app.pinned), (0, 0, None));
}

#[test]
fn reaching_the_top_asks_for_older_messages_once() {
    let mut app = opened();
    assert_eq!(app.reached_top(), None, "all are here");
    app.more = true;
    assert_eq!(app.reached_top(), None, "not there yet");
    press(&mut app, KeyCode::PageUp);
    app.at_top = true;
    assert_eq!(app.reached_top(), Some(Action::Load { conversation: conversation_id(1), limit: 2 * PAGE_MESSAGES }));
    assert_eq!(app.reached_top(), None);
}

#[test]
fn requests_are_accepted_with_a_and_declined_after_a_question() {
    let mut app = app();
    press(&mut app, KeyCode::Char('r'));
    assert_eq!(press(&mut app, KeyCode::Char('a')), [Action::Accept(handle("dave"))]);
    assert_eq!(press(&mut app, KeyCode::Char('d')), []);
    assert_eq!(press(&mut app, KeyCode::Char('n')), []);
    assert_eq!(app.dialog, None);
    press(&mut app, KeyCode::Char('d'));
    assert_eq!(press(&mut app, KeyCode::Char('y')), [Action::Decline(handle("dave"))]);
}

#[test]
fn a_new_message_to_somebody_known_opens_that_conversation_and_to_a_stranger_a_new_one() {
    let mut app = app();
    press(&mut app, KeyCode::Char('n'));
    write(&mut app, "@bob");
    press(&mut app, KeyCode::Enter);
    assert_eq!(app.open, Open::Conversation(conversation_id(1)));
    press(&mut app, KeyCode::Esc);
    press(&mut app, KeyCode::Char('n'));
    write(&mut app, "erin");
    press(&mut app, KeyCode::Enter);
    assert_eq!(app.open, Open::Person(handle("erin")));
    write(&mut app, "hi");
    assert_eq!(
        press(&mut app, KeyCode::Enter),
        [Action::Send { to: Target::Person(handle("erin")), text: "hi".into() }]
    );
    write(&mut app, "and");
    app.news(News::Reached { person: handle("erin"), conversation: conversation_id(7) });
    assert_eq!((&app.open, app.composer.text()), (&Open::Conversation(conversation_id(7)), "and"));
}

#[test]
fn a_text_that_could_not_be_sent_comes_back() {
    let mut app = app();
    press(&mut app, KeyCode::Char('n'));
    write(&mut app, "nobody");
    press(&mut app, KeyCode::Enter);
    let to = Target::Person(handle("nobody"));
    app.news(News::Unsent { to, text: "hi".into(), why: "there is nobody called @nobody".into() });
    assert_eq!(app.composer.text(), "hi");
    assert!(app.said.is_some());
}

#[test]
fn a_form_says_what_is_wrong_and_stays() {
    let mut app = app();
    press(&mut app, KeyCode::Char('g'));
    write(&mut app, "crew");
    press(&mut app, KeyCode::Tab);
    write(&mut app, "@bob, @Carol");
    assert_eq!(press(&mut app, KeyCode::Enter), []);
    assert!(
        matches!(&app.dialog, Some(Dialog::Form(form)) if form.error.as_ref().is_some_and(|e| e.contains("lower case")))
    );
    for _ in 0..6 {
        press(&mut app, KeyCode::Backspace);
    }
    write(&mut app, "carol");
    let made = press(&mut app, KeyCode::Enter);
    assert_eq!(made, [Action::CreateGroup { name: "crew".into(), members: vec![handle("bob"), handle("carol")] }]);
}

#[test]
fn members_are_removed_and_promoted_after_a_question() {
    let mut app = app();
    press(&mut app, KeyCode::Down);
    press(&mut app, KeyCode::Char('m'));
    press(&mut app, KeyCode::Down);
    press(&mut app, KeyCode::Down);
    press(&mut app, KeyCode::Char('x'));
    let (group, member) = (conversation_id(2), handle("carol"));
    assert_eq!(press(&mut app, KeyCode::Char('y')), [Action::RemoveMember { group, member: member.clone() }]);
    hold(&mut app, KeyModifiers::CONTROL, KeyCode::Char('g'));
    press(&mut app, KeyCode::Down);
    press(&mut app, KeyCode::Down);
    press(&mut app, KeyCode::Char('p'));
    assert_eq!(press(&mut app, KeyCode::Char('y')), [Action::SetRole { group, member, role: Role::Admin }]);
}

#[test]
fn the_recovery_words_go_only_after_one_of_them_was_typed() {
    let mut app = App::default();
    app.offer_sign_up();
    write(&mut app, "alice");
    press(&mut app, KeyCode::Enter);
    write(&mut app, "http://localhost:1");
    let actions = press(&mut app, KeyCode::Enter);
    assert_eq!(actions, [Action::SignUp { handle: handle("alice"), server: "http://localhost:1".into() }]);
    assert_eq!(press(&mut app, KeyCode::Enter), [], "one at a time");
    app.news(News::NotSignedUp("taken".into()));
    assert_eq!(press(&mut app, KeyCode::Enter).len(), 1, "and again after an error");
    let words: Vec<_> = (0..24).map(|n| format!("word{n}")).collect();
    app.news(News::SignedUp { me: alice(), words: words.clone() });
    let Some(Dialog::Words { ask, .. }) = app.dialog else { panic!("no words") };
    write(&mut app, "wrong");
    press(&mut app, KeyCode::Enter);
    assert!(matches!(&app.dialog, Some(Dialog::Words { error: Some(_), .. })));
    assert_eq!(hold(&mut app, KeyModifiers::CONTROL, KeyCode::Char('c')), [], "asked once more");
    write(&mut app, &words[ask]);
    press(&mut app, KeyCode::Enter);
    assert_eq!(app.dialog, None);
}

#[test]
fn ctrl_c_quits_from_everywhere() {
    for mut app in [App::default(), app(), opened()] {
        assert_eq!(hold(&mut app, KeyModifiers::CONTROL, KeyCode::Char('c')), [Action::Quit]);
        app.dialog = Some(Dialog::Help);
        assert_eq!(hold(&mut app, KeyModifiers::CONTROL, KeyCode::Char('c')), [Action::Quit]);
    }
}

#[test]
fn direct_messages_that_become_one_stay_open() {
    let mut app = opened();
    write(&mut app, "draft");
    app.news(News::Conversations(vec![dm(5, "bob", 0)]));
    assert_eq!((&app.open, app.composer.text()), (&Open::Conversation(conversation_id(5)), "draft"));
}

#[test]
fn no_key_in_any_place_panics() {
    let codes = [
        KeyCode::Enter,
        KeyCode::Esc,
        KeyCode::Tab,
        KeyCode::BackTab,
        KeyCode::Backspace,
        KeyCode::Delete,
        KeyCode::Left,
        KeyCode::Right,
        KeyCode::Up,
        KeyCode::Down,
        KeyCode::Home,
        KeyCode::End,
        KeyCode::PageUp,
        KeyCode::PageDown,
        KeyCode::F(1),
        KeyCode::Null,
    ];
    let letters = "nagrmxpeLjklq?yd你👩‍👧é ".chars().map(KeyCode::Char);
    let all: Vec<_> = codes.into_iter().chain(letters).collect();
    let mut app = app();
    let mut seed = 1_u32;
    for round in 0..20_000 {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let code = all[(seed >> 8) as usize % all.len()];
        let held = [KeyModifiers::NONE, KeyModifiers::NONE, KeyModifiers::CONTROL, KeyModifiers::ALT]
            [(seed >> 24) as usize % 4];
        hold(&mut app, held, code);
        if round % 997 == 0 {
            app.news(News::Conversations(vec![]));
            app.news(News::Requests(vec![]));
        } else if round % 101 == 0 {
            app.news(News::Conversations(vec![dm(1, "bob", 2), group(2, "team")]));
            app.news(News::Requests(vec![request("dave")]));
        }
    }
}
