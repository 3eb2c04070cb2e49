//! German.

use stonechat_web::protocol::{Fault, FaultCode};

use super::{DayName, HandleError, Role, Words, size};

pub(super) static GERMAN: Words = Words {
    tag: "de",
    own_name: "Deutsch",

    cancel: "Abbrechen",
    close: "Schließen",
    back: "Zurück",
    reload: "Seite neu laden",
    working: "Einen Moment…",
    dismiss: "Ausblenden",
    fault,

    opening: "Was hier gespeichert ist, wird geöffnet…",
    broken: "Stonechat kann hier nicht starten",
    broken_erase: "Löschen, was hier gespeichert ist",
    sign_up: "Wähle einen Namen",
    sign_up_lead: "So finden dich andere. Ohne Telefonnummer, ohne E-Mail-Adresse.",
    handle: "Name",
    handle_hint: "1 bis 15 Zeichen: a–z, 0–9 und _. Er bleibt deiner und lässt sich nicht ändern.",
    handle_bad: |error| match error {
        HandleError::Empty => "Bitte gib einen Namen ein.",
        HandleError::TooLong => "Das ist zu lang: Ein Name hat höchstens 15 Zeichen.",
        HandleError::Character => "Ein Name hat nur die Buchstaben a bis z, Ziffern und _.",
    },
    create_account: "Konto anlegen",
    creating: "Deine Schlüssel und dein Konto werden angelegt…",
    unfinished: |handle| {
        format!("Du hattest dich als {handle} angemeldet und warst nicht fertig. Mach mit demselben Namen weiter.")
    },
    keys_stay: "Deine Schlüssel entstehen in diesem Browser und verlassen ihn nie.",
    words_title: "Deine Wiederherstellungswörter",
    words_lead: "Diese 24 Wörter sind für eine spätere Version von Stonechat. Ein Konto damit zurückzuholen geht noch nicht: Wer heute diesen \
                 Browser verliert, verliert das Konto. Schreib sie in dieser Reihenfolge auf Papier und bewahre sie dort auf, wo niemand \
                 sonst sie findet. Sie werden nur jetzt gezeigt.",
    words_list: "Wiederherstellungswörter",
    words_for: |handle, server| format!("{handle} auf {server}"),
    print: "Drucken",
    written_down: "Ich habe sie aufgeschrieben",
    confirm_title: "Drei davon, bitte",
    confirm_lead: "Schreib diese Wörter von deinem Papier ab. Danach vergisst Stonechat sie.",
    word: |number| format!("Wort {number}"),
    word_wrong: |number| format!("Das ist nicht Wort {number}. Sieh noch einmal auf dein Papier."),
    confirm: "Bestätigen",
    words_again: "Die Wörter noch einmal zeigen",

    conversations: "Unterhaltungen",
    search: "Suchen",
    found_conversations: "Personen und Gruppen",
    found_messages: "Nachrichten",
    found_none: "Nichts gefunden. Gesucht wird nur in dem, was auf diesem Gerät ist.",
    found_more: "Es gibt mehr: Ein weiteres Wort grenzt es ein.",
    new_message: "Neue Nachricht",
    new_message_lead: "Wem möchtest du schreiben?",
    start: "Los",
    new_group: "Neue Gruppe",
    group_name: "Gruppenname",
    group_name_bad: "Ein Gruppenname hat 1 bis etwa 100 Buchstaben.",
    group_members: "Mitglieder",
    group_members_hint: "Namen, mit Leerzeichen dazwischen. Alle werden erst gefragt.",
    create_group: "Gruppe anlegen",
    no_conversations: "Noch niemand hier",
    no_conversations_lead: |handle| {
        format!(
            "Schreib jemandem unter seinem Namen, oder nenne deinen: {handle}. Wer dir zuerst schreibt, erscheint unter Anfragen."
        )
    },
    pick: "Wähle eine Unterhaltung, oder beginne eine neue.",
    unread: |count| format!("{count} ungelesen"),
    draft: "Entwurf:",
    you: "Du:",
    left: "Du bist nicht mehr in dieser Gruppe",

    requests: "Anfragen",
    requests_lead: "Sie möchten dir schreiben. Nichts davon wurde abgeholt, und niemand erfährt, wie du dich entscheidest.",
    no_requests: "Niemand wartet.",
    wants_to_write: "möchte dir schreiben",
    wants_group: "möchte dich in einer Gruppe haben",
    accept: "Annehmen",
    decline: "Ablehnen",

    messages: "Nachrichten",
    message: "Nachricht",
    send: "Senden",
    encrypted: "Nachrichten sind Ende-zu-Ende-verschlüsselt. Nur die Personen in dieser Unterhaltung können sie lesen.",
    encrypted_unverified: "Nachrichten sind Ende-zu-Ende-verschlüsselt, aber wer sie lesen kann, ist nicht geprüft.",
    encrypted_first: |handle| {
        format!(
            "Nachrichten sind Ende-zu-Ende-verschlüsselt. Ob die Schlüssel {handle} gehören, wird geprüft, bevor etwas gesendet wird."
        )
    },
    not_verified: "Nicht geprüft",
    verified: "Geprüft",
    lock_closed: "Geprüft: Die Geräte gehören zu diesem Konto.",
    lock_closed_group: "Geprüft: Alle Geräte gehören zu ihren Konten.",
    lock_closed_detail: "Dieses Gerät hat selbst geprüft, dass jedes Gerät in dieser Unterhaltung mit den Schlüsseln seines Kontos hinzugefügt \
                         wurde und dass der Server allen dieselben Konten zeigt. Das Schloss bleibt nur zu, solange das stimmt.",
    lock_open_detail: "Nachrichten sind verschlüsselt, aber wer sie lesen kann, ließ sich nicht prüfen. Schreib hier nichts Vertrauliches, bis \
                       das Schloss zu ist; frag auf anderem Weg, ob sich etwas geändert hat.",
    lock_why: "Was bedeutet das Schloss?",
    details: "Details",
    first_message: |handle| {
        format!("{handle} sieht deine erste Nachricht als Anfrage und kann sie annehmen oder ablehnen.")
    },
    newer: "Diese Nachricht kommt von einer neueren Version der App. Lade die Seite neu, um sie zu lesen.",
    queued: "Wartet",
    sent: "Gesendet",
    delivered: "Zugestellt",
    failed: "Nicht gesendet",
    write_again: "Noch einmal schreiben",
    to_latest: "Zum Neuesten",
    unread_from_here: "Ungelesen ab hier",
    not_in_it: "Du bist nicht mehr in dieser Gruppe. Was geschrieben wurde, bleibt auf diesem Gerät.",
    leads_to: |host| format!("öffnet {host}"),
    too_long: "Das ist zu lang für eine Nachricht.",
    gone: "Diese Unterhaltung ist nicht auf diesem Gerät.",
    day: |name| match name {
        DayName::Today => Some("Heute"),
        DayName::Yesterday => Some("Gestern"),
        DayName::Weekday | DayName::Date => None,
    },
    people: |count| if count == 1 { "1 Person".into() } else { format!("{count} Personen") },

    group_details: "Gruppe",
    person_details: "Details",
    members: "Mitglieder",
    role: |role| match role {
        Role::Member => "Mitglied",
        Role::Admin => "Admin",
        Role::Owner => "Inhaber",
    },
    devices: |count| if count == 1 { "1 Gerät".into() } else { format!("{count} Geräte") },
    rename: "Umbenennen",
    add_members: "Mitglieder hinzufügen",
    add: "Hinzufügen",
    remove: |handle| format!("{handle} entfernen"),
    remove_short: "Entfernen",
    make: |role| match role {
        Role::Member => "Zum Mitglied machen",
        Role::Admin => "Zum Admin machen",
        Role::Owner => "Zum Inhaber machen",
    },
    make_whom: |role, handle| match role {
        Role::Member => format!("{handle} zum Mitglied machen"),
        Role::Admin => format!("{handle} zum Admin machen"),
        Role::Owner => format!("{handle} zum Inhaber machen"),
    },
    leave: "Gruppe verlassen",
    leave_lead: "Du bekommst keine Nachrichten mehr daraus. Was geschrieben wurde, bleibt auf diesem Gerät.",
    write_to: |handle| format!("{handle} schreiben"),
    write_short: "Schreiben",
    remove_lead: |handle| format!("{handle} kann nichts mehr lesen, was ab jetzt geschrieben wird."),
    give_ownership_lead: |handle| {
        format!("Die Gruppe gehört dann {handle}, und du bist Admin. Zurückgeben kann sie nur {handle}.")
    },
    account_id: "Konto",
    role_lead: |role| match role {
        Role::Member => "Du kannst schreiben. Admins können Personen hinzufügen und entfernen.",
        Role::Admin => "Du kannst Personen hinzufügen, Mitglieder entfernen und die Gruppe umbenennen.",
        Role::Owner => "Du kannst hier alles, auch Rollen vergeben.",
    },

    settings: "Einstellungen",
    language: "Sprache",
    theme: "Aussehen",
    as_system: "Wie das System",
    light: "Hell",
    dark: "Dunkel",
    storage: "Speicher",
    storage_kept: "Der Browser behält, was hier gespeichert ist, bis du es löschst.",
    storage_may_go: "Der Browser darf hier alles löschen, wenn der Platz knapp wird: dein Konto auf diesem Gerät, Schlüssel und Nachrichten.",
    storage_ask: "Den Browser bitten, es zu behalten",
    storage_refused: "Der Browser hat abgelehnt. Es kann helfen, Stonechat zum Startbildschirm oder zu den Lesezeichen hinzuzufügen.",
    storage_used: |used, quota| match quota {
        Some(quota) => format!("{} von {} belegt.", size(used, ','), size(quota, ',')),
        None => format!("{} belegt.", size(used, ',')),
    },
    this_account: "Dieses Konto",
    device: "Gerät",
    server: "Server",
    sign_out: "Abmelden",
    sign_out_lead: "Beim Abmelden wird alles gelöscht, was Stonechat in diesem Browser aufbewahrt. Das lässt sich nicht rückgängig machen. \
                    Du verlierst:",
    sign_out_lost: [
        "alle Nachrichten: Niemand sonst hat eine Kopie für dich",
        "die Schlüssel dieses Geräts: Es kann nicht mehr als du lesen und schreiben",
        "was noch wartet und nicht gesendet wurde",
        "dein Konto, wenn du kein anderes Gerät hast: Die Wiederherstellungswörter können es noch nicht zurückholen",
    ],
    sign_out_now: "Löschen und abmelden",

    offline: "Offline. Was du schreibst, wird gesendet, sobald die Verbindung wieder da ist.",
    offline_lasting: "Offline, und Warten hilft nicht:",
    connecting: "Verbindung wird aufgebaut…",
    stopped: "Stonechat wurde angehalten. Lade die Seite neu.",
    follows: "Stonechat läuft auch in einem anderen Tab; dieser hier folgt ihm.",
    storage_banner: "Dieser Browser darf deine Nachrichten löschen, wenn der Platz knapp wird.",
    refused: "Etwas wurde abgelehnt, das ehrliche Software nicht tut:",

    trust: &super::trust::GERMAN,
};

/// What the client says in English is left where only it knows more.
fn fault(fault: &Fault) -> String {
    let who = fault.who.as_deref().unwrap_or("diese Person");
    let text = &fault.text;
    match fault.code {
        FaultCode::Offline => "Dafür braucht es den Server, und es gibt keine Verbindung. Nichts ist geschehen.".into(),
        FaultCode::TimedOut => "Das dauert zu lange. Es kann noch geschehen: Sieh nach, bevor du es noch einmal versuchst.".into(),
        FaultCode::Unconfirmed => {
            "Der Server hat das Konto nicht bestätigt. Versuch es mit demselben Namen noch einmal, dann geht es dort weiter.".into()
        }
        FaultCode::BadHandle => "Das ist kein Name: Ein Name hat 1 bis 15 Zeichen, a bis z, 0 bis 9 und _.".into(),
        FaultCode::HandleTaken => format!("Den Namen {who} hat schon jemand. Bitte wähle einen anderen."),
        FaultCode::UnknownHandle => format!("Unter dem Namen {who} gibt es hier niemanden."),
        FaultCode::NotReady => format!("Kein Gerät von {who} ist bereit. Versuch es später noch einmal."),
        FaultCode::Untrusted => {
            format!("Was der Server über {who} sagt, lässt sich nicht bestätigen. Nichts wurde gesendet. ({text})")
        }
        FaultCode::Yourself => "Das bist du selbst.".into(),
        FaultCode::UnknownConversation => "Diese Unterhaltung gibt es nicht.".into(),
        FaultCode::UnknownRequest => "Diese Anfrage gibt es nicht mehr.".into(),
        FaultCode::NotAllowed => format!("Das geht gerade nicht, oder nicht in deiner Rolle. ({text})"),
        FaultCode::Invalid => format!("Das ist leer, zu lang oder zu viel. ({text})"),
        FaultCode::Refused => format!("Der Server hat abgelehnt. ({text})"),
        FaultCode::Directory => {
            format!("Noch lässt sich nicht prüfen, wer das ist. Nichts wurde gesendet; versuch es gleich noch einmal. ({text})")
        }
        FaultCode::StartedOver => format!(
            "Der Name {who} gehört jetzt einem anderen Konto als dem, das du kennst: Die Person hat neu angefangen, oder jemand anders hat \
             den Namen. Nichts wurde gesendet. Frag auf einem anderen Weg nach, dann nimm die Anfrage an."
        ),
        FaultCode::Mismatch => format!(
            "Das ist nicht die Sicherheitsnummer, die du mit {who} teilst: Ihr sprecht nicht beide miteinander. Schreib nichts, was unter \
             euch bleiben muss, und sag es auf einem anderen Weg."
        ),
        FaultCode::UnknownDevice => "Dieses Gerät hat das Konto nicht.".into(),
        FaultCode::ThisDevice => "Das ist dieses Gerät; sperre es von einem anderen aus.".into(),
        FaultCode::UnknownAlarm => "Diesen Alarm gibt es nicht mehr.".into(),
        FaultCode::NoAccount => "Hier ist niemand angemeldet.".into(),
        FaultCode::AlreadySignedUp => "In diesem Browser ist schon jemand angemeldet. Melde dich dort zuerst ab.".into(),
        FaultCode::NoStorage => {
            "Dieser Browser gibt dieser Seite keinen eigenen Speicher: vielleicht ein privates Fenster, ein Rahmen in einer anderen Seite, \
             oder eine zu alte Version. Öffne Stonechat in einem gewöhnlichen Fenster eines aktuellen Browsers."
                .into()
        }
        FaultCode::StorageFull => "Der Speicher dieses Browsers für diese Seite ist voll. Was gespeichert war, ist noch da.".into(),
        FaultCode::StorageBroken => format!("Was hier gespeichert ist, lässt sich nicht lesen. ({text})"),
        FaultCode::StorageNewer => {
            "Eine neuere Version dieser App hat geschrieben, was hier gespeichert ist. Lade die Seite neu, um sie zu bekommen.".into()
        }
        FaultCode::Unsupported => format!("Diesem Browser fehlt etwas, das Stonechat braucht. ({text})"),
        FaultCode::Stopped => "Stonechat wurde angehalten. Lade die Seite neu.".into(),
        FaultCode::Busy => format!("Gerade ist zu viel auf einmal los. ({text})"),
        FaultCode::Bug => format!("Das ist ein Fehler in Stonechat. Lade die Seite neu. ({text})"),
    }
}
