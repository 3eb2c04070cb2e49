//! German.

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
    codes: &stonechat_web::words::GERMAN,
};
