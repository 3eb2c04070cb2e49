//! German.

use super::{AlarmKind, TrustWords};

pub(in super::super) static GERMAN: TrustWords = TrustWords {
    why_closed: "Warum ist das Schloss zu?",
    why_open: "Warum ist das Schloss offen?",
    all_hold: "Das Schloss ist zu, weil das alles stimmt:",
    not_all_hold: "Das Schloss ist offen, weil nicht alles davon stimmt:",
    holds: "Stimmt:",
    fails: "Stimmt nicht:",
    compared_with: |handles| format!("Du hast Sicherheitsnummern verglichen mit {handles}."),
    compared_none: "Du hast hier noch keine Sicherheitsnummern verglichen. Das Schloss braucht es nicht.",
    compare_with: |handle| format!("Sicherheitsnummern mit {handle} vergleichen"),

    compared: "Sicherheitsnummer verglichen",
    safety: "Sicherheitsnummer",
    safety_lead: |handle| {
        format!(
            "{handle} sieht dieselben 60 Ziffern. Vergleicht sie, wenn ihr euch seht oder telefoniert, oder scannt euch gegenseitig den \
             Code: Niemand zwischen euch kann sie gleich aussehen lassen."
        )
    },
    code: |handle| format!("QR-Code deiner Sicherheitsnummer mit {handle}"),
    compared_at: |when| format!("Du hast sie verglichen, und sie stimmte: {when}."),
    not_compared: "Du hast sie noch nicht verglichen.",
    theirs: "Die Ziffern der anderen Seite",
    theirs_hint: "Tippe oder füge die 60 Ziffern ein, die man dir vorliest.",
    compare: "Vergleichen",
    scan: "Code der anderen Seite scannen",
    scan_stop: "Kamera ausschalten",
    scan_lead: "Halte den Code der anderen Seite vor die Kamera. Das Bild bleibt in dieser Seite.",
    camera_waits: "Die Kamera wird gestartet…",
    camera_none: "Hier gibt es keine Kamera. Vergleicht stattdessen die Ziffern.",
    camera_refused: "Der Browser lässt diese Seite nicht an die Kamera. Erlaube es in den Einstellungen des Browsers für diese Seite, oder \
                     vergleicht stattdessen die Ziffern.",
    camera_fails: "Die Kamera startet nicht; vielleicht benutzt sie ein anderes Programm. Schließe es, oder vergleicht stattdessen die \
                   Ziffern.",
    matches: |handle| format!("Sie stimmt. {handle} ist wirklich diese Person und als geprüft markiert."),

    request_started_over: "Unter diesem Namen kennst du ein anderes Konto: Die Person hat neu angefangen, oder jemand anders hat den Namen \
                           jetzt. Frag auf einem anderen Weg nach, bevor du annimmst.",

    alarm_count: |count| if count == 1 { "Alarm".into() } else { format!("{count} Alarme") },
    alarm_open: "Was geschehen ist, und was zu tun ist",
    alarms: "Alarme",
    alarms_none: "Keine Alarme.",
    alarm: |kind| match kind {
        AlarmKind::Device => "Dein Konto hat ein Gerät, das nicht von hier hinzugefügt wurde",
        AlarmKind::Log => "Dein Konto wurde geändert, und nicht von hier",
        AlarmKind::OtherLog => "Der Server zeigt ein anderes Konto als das echte",
        AlarmKind::TakenBack => "Der Server nimmt zurück, was er über ein Konto gesagt hat",
        AlarmKind::Unpublished => "Der Server verschweigt, was jemand über seine Geräte gesagt hat",
        AlarmKind::HandleMoved => "Ein Name gehört jetzt einem anderen Konto",
        AlarmKind::Fork => "Der Server zeigt verschiedenen Leuten Verschiedenes",
        AlarmKind::Stale => "Der Server zeigt einen alten Stand",
        AlarmKind::Policy => "Die Schlüssel des Servers sind nicht die gemerkten",
        AlarmKind::Proof => "Der Beweis des Servers stimmt nicht",
        AlarmKind::Unwitnessed => "Kein Zeuge bestätigt, was der Server zeigt",
    },
    evidence: "Beweis speichern",
    evidence_hint: "Wer will, kann diese Datei prüfen mit:",
    settle: "Das ist geklärt",
    settle_question: "Ist das geklärt? Der Alarm wird weggelegt; der Beweis bleibt.",
    settle_now: "Weglegen",
    settled: "Weggelegt",

    own_devices: "Geräte dieses Kontos",
    this_device: "Dieses Gerät",
    added_at: |when| format!("Hinzugefügt: {when}"),
    not_added_here: "Nicht von diesem Gerät hinzugefügt",
    revoke: "Dieses Gerät sperren",
    revoke_question: "Sperren? Es kann nichts mehr lesen, was geschrieben wird, sobald die Apps deiner Kontakte davon wissen. Das lässt sich \
                      nicht rückgängig machen.",
    revoke_now: "Sperren",
    revoked: "Gesperrt. Es liest nichts mehr, was geschrieben wird, sobald die Apps deiner Kontakte davon wissen.",
};
