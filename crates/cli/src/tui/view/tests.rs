use jiff::civil::date;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::style::Color;
use stonechat_client::{Body, Hold, Lock, Problem, Status};

use super::super::state::News;
use super::super::testing::{alice, conversation_id, dm, group, handle, message, request};
use super::*;
use crate::tui::editor::Editor;

const FULL: Theme = Theme { color: true, unicode: true };
const PLAIN: Theme = Theme { color: false, unicode: false };

fn app() -> App {
    let mut app = App::default();
    app.news(News::Me(alice()));
    app.news(News::Conversations(vec![dm(1, "bob", 3), group(2, "Dinner")]));
    app.news(News::Requests(vec![request("dave")]));
    app.news(News::Connection(Connection::Online));
    app
}

fn talking() -> App {
    let mut app = app();
    app.news(News::Opened(conversation_id(1)));
    let mut messages = vec![
        message(1, 1, "bob", "are you there?"),
        message(1, 2, "bob", "hello"),
        message(1, 3, "alice", "yes"),
        message(1, 4, "alice", "wait"),
    ];
    messages[3].status = Status::Queued;
    app.news(News::Messages { conversation: conversation_id(1), messages, limit: 200 });
    app
}

fn terminal(app: &mut App, theme: Theme, width: u16, height: u16) -> Terminal<TestBackend> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    let clock = Clock { zone: TimeZone::UTC, today: date(2023, 11, 15) };
    terminal.draw(|frame| render(app, theme, &clock, frame)).unwrap();
    terminal
}

fn screen(app: &mut App, theme: Theme, width: u16, height: u16) -> String {
    let terminal = terminal(app, theme, width, height);
    let buffer = terminal.backend().buffer();
    let mut text = String::new();
    for y in 0..height {
        let mut x = 0;
        while x < width {
            let symbol = buffer[(x, y)].symbol();
            text.push_str(symbol);
            x += u16::try_from(cells(symbol).max(1)).unwrap();
        }
        text.push('\n');
    }
    text
}

#[track_caller]
fn shows(screen: &str, parts: &[&str]) {
    for part in parts {
        assert!(screen.contains(part), "{part:?} is not in\n{screen}");
    }
}

#[test]
fn both_sides_stand_on_80x24() {
    let screen = screen(&mut talking(), FULL, 80, 24);
    shows(
        &screen,
        &["Stonechat @alice", "Requests", "🔒 @bob", "🔒 Dinner", "@bob 🔒", "Messages are end-to-end encrypted"],
    );
    shows(
        &screen,
        &[
            "Yesterday",
            "are you there?",
            "@bob 22:14",
            "you 22:16",
            "✓",
            "queued",
            "Online",
            "Enter send",
            "Esc list",
            "To @bob",
        ],
    );
    assert_eq!(screen.matches("@bob 22:").count(), 1, "one heading for a run of messages\n{screen}");
}

#[test]
fn a_message_that_was_delivered_says_so_in_signs_or_words() {
    let mut app = talking();
    assert!(!screen(&mut app, FULL, 80, 24).contains("✓✓"));
    app.messages[2].status = Status::Delivered;
    shows(&screen(&mut app, FULL, 80, 24), &["✓✓"]);
    shows(&screen(&mut app, PLAIN, 80, 24), &["delivered"]);
}

#[test]
fn one_side_stands_on_40x10() {
    let mut app = talking();
    let pane = screen(&mut app, FULL, 40, 10);
    shows(&pane, &["@bob 🔒", "Messages are end-to-end encrypted", "yes"]);
    app.focus = Focus::List;
    let list = screen(&mut app, FULL, 40, 10);
    shows(&list, &["Stonechat @alice", "Requests", "Dinner"]);
    app.connection = Connection::Offline("nothing answers".into());
    shows(&screen(&mut app, FULL, 40, 10), &["Offline — sending later"]);
}

#[test]
fn without_utf8_and_colour_the_screen_is_ascii_and_plain() {
    let mut app = talking();
    app.connection = Connection::Offline("nothing answers".into());
    for dialog in [None, Some(Dialog::Help), Some(Dialog::Members { conversation: conversation_id(2), at: 0 })] {
        app.dialog = dialog;
        let text = screen(&mut app, PLAIN, 80, 24);
        assert!(text.is_ascii(), "{text}");
        let terminal = terminal(&mut app, PLAIN, 80, 24);
        assert!(
            terminal.backend().buffer().content().iter().all(|cell| cell.fg == Color::Reset && cell.bg == Color::Reset)
        );
    }
    app.dialog = None;
    shows(&screen(&mut app, PLAIN, 80, 24), &["[lock]", "Offline - sending later"]);
}

#[test]
fn an_open_lock_says_why_and_a_notice_is_shown() {
    let mut app = talking();
    app.conversations[0].lock = Lock::Open(Problem::Log);
    app.conversations[0].hold = Some(Hold::NotReady { who: Some(handle("bob")), waits: true });
    let screen = screen(&mut app, FULL, 100, 24);
    shows(
        &screen,
        &["🔓", "Not verified: The account log of a member does not verify.", "@bob cannot be reached at the moment"],
    );
    app.conversations[0].hold = None;
    app.conversations[0].active = false;
    shows(&self::screen(&mut app, FULL, 100, 24), &["You are no longer in this group"]);
}

#[test]
fn hostile_text_never_reaches_the_screen_as_control() {
    let mut app = talking();
    app.conversations[1].title = "\x1b[31mred\nline\u{202E}".into();
    app.conversations[0].hold = Some(Hold::Leaving);
    app.messages[0].body = Body::Text("\x1b[2J\u{9b}2J\x07 ok \u{202E}evil".into());
    app.said = Some("said\x1b[1m".into());
    let text = screen(&mut app, FULL, 80, 24);
    assert!(text.chars().all(|c| c == '\n' || !c.is_control()) && !text.contains('\u{202E}'), "{text}");
    shows(&text, &["ok evil"]);
}

#[test]
fn every_dialog_fits_80x24_and_names_its_keys() {
    let mut app = app();
    app.dialog = Some(Dialog::Help);
    shows(&screen(&mut app, FULL, 80, 24), &["Keys", "Ctrl-N", "quit"]);
    app.dialog = Some(Dialog::Members { conversation: conversation_id(2), at: 1 });
    shows(&screen(&mut app, FULL, 80, 24), &["Members", "🔒 @alice (you)", "owner", "@bob", "admin", "L leave"]);
    app.dialog =
        Some(Dialog::Confirm { question: "Leave this group?".into(), then: super::super::state::Action::Quit });
    shows(&screen(&mut app, FULL, 80, 24), &["Leave this group?", "y yes"]);
    let words: Vec<_> = (1..=24).map(|n| format!("wordno{n}")).collect();
    for (width, height) in [(80, 24), (40, 12)] {
        app.dialog =
            Some(Dialog::Words { words: words.clone(), ask: 6, answer: Editor::default(), warned: false, error: None });
        let text = screen(&mut app, FULL, width, height);
        shows(&text, &["1 wordno1 ", "24 wordno24", "Type word 7"]);
    }
    let mut fresh = App::default();
    fresh.offer_sign_up();
    shows(&screen(&mut fresh, FULL, 80, 24), &["Welcome to Stonechat", "Your handle", "Server", "Enter sign up"]);
}

#[test]
fn requests_show_who_waits() {
    let mut app = app();
    app.open = Open::Requests;
    app.focus = Focus::Pane;
    shows(&screen(&mut app, FULL, 80, 24), &["Requests", "@dave wants to write to you", "a accept"]);
    app.open = Open::Person(handle("erin"));
    shows(&screen(&mut app, FULL, 80, 24), &["@erin", "A new conversation"]);
}

#[test]
fn scrolling_shows_older_lines_and_stops_at_the_first() {
    let mut app = talking();
    app.messages = (1..=100).map(|n| message(1, n, "bob", &format!("line {n}"))).collect();
    shows(&screen(&mut app, FULL, 80, 24), &["line 100"]);
    app.pinned = Some(app.messages[99].id);
    app.scroll = 100_000;
    let top = screen(&mut app, FULL, 80, 24);
    shows(&top, &["line 1 ", "PgDn: to the latest"]);
    assert!(app.at_top, "older ones are asked for");
    assert!(app.scroll < 1_000, "bounded by what there is: {}", app.scroll);
    app.news(News::Message(message(1, 101, "bob", "newest")));
    assert_eq!(screen(&mut app, FULL, 80, 24).matches("newest").count(), 0);
    shows(&screen(&mut app, FULL, 80, 24), &["1 new below"]);
}

#[test]
fn no_size_and_no_text_panics() {
    let texts = [
        "",
        "\n\n\n",
        "你好世界你好世界",
        "👩‍👩‍👧‍👦👩‍👩‍👧‍👦",
        "e\u{301}\u{301}",
        "word ".repeat(500).as_str(),
        "x".repeat(3_000).as_str(),
    ]
    .map(str::to_owned);
    for text in texts {
        let mut app = talking();
        app.conversations[0].title = text.clone().into();
        app.conversations[1].title = text.clone().into();
        app.messages[1].body = Body::Text(text.clone().into());
        app.composer = Editor::with(&text);
        app.said = Some(text.clone());
        let words = vec![text.clone(); 24];
        let dialogs = [
            None,
            Some(Dialog::Help),
            Some(Dialog::Members { conversation: conversation_id(2), at: 2 }),
            Some(Dialog::Confirm { question: text.clone(), then: super::super::state::Action::Quit }),
            Some(Dialog::Words { words, ask: 0, answer: Editor::with(&text), warned: true, error: Some(text.clone()) }),
        ];
        for dialog in dialogs {
            app.dialog = dialog;
            for (width, height) in
                [(1, 1), (3, 2), (4, 3), (5, 5), (12, 4), (40, 10), (63, 13), (64, 14), (80, 24), (400, 120)]
            {
                for focus in [Focus::List, Focus::Pane] {
                    app.focus = focus;
                    screen(&mut app, FULL, width, height);
                }
            }
        }
    }
}
