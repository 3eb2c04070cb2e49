//! German.

use super::{AlarmKind, Check, CheckKind, Doubt, NoticeKind, TrustWords};

pub(in super::super) static GERMAN: TrustWords = TrustWords {
    why_closed: "Warum ist das Schloss zu?",
    why_open: "Warum ist das Schloss offen?",
    all_hold: "Das Schloss ist zu, weil das alles stimmt:",
    not_all_hold: "Das Schloss ist offen, weil nicht alles davon stimmt:",
    holds: "Stimmt:",
    fails: "Stimmt nicht:",
    check,
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

    notice: |kind, who| match kind {
        NoticeKind::DeviceAdded => format!("{who} hat ein Gerät hinzugefügt."),
        NoticeKind::DeviceRevoked => format!("{who} hat ein Gerät entfernt."),
        NoticeKind::StartedOver => format!(
            "{who} hat mit einem anderen Konto neu angefangen. Wer den Namen jetzt hat, ist nicht das Konto, das du kennst. Frag auf einem \
             anderen Weg nach, bevor du annimmst, und vergleicht die Sicherheitsnummern."
        ),
    },
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
    alarm_detail: |kind| Some(alarm_detail(kind)),
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

fn check(Check { what, holds }: &Check) -> String {
    match (what, holds) {
        (CheckKind::Pinned { origin, threshold, witnesses }, true) => format!(
            "Die Schlüssel des Verzeichnisses sind gemerkt, seit es dieses Konto gibt: {origin}, mit {threshold} von {witnesses} Zeugen."
        ),
        (CheckKind::Pinned { .. }, false) => "Die Schlüssel des Verzeichnisses sind hier noch nicht bekannt.".into(),
        (CheckKind::OneLog { records }, true) => format!(
            "Alle Stände des Verzeichnisses, die du und deine Kontakte gesehen haben, gehören zu einem Protokoll, jetzt mit {}.",
            entries_of(*records)
        ),
        (CheckKind::OneLog { .. }, false) => {
            "Das Verzeichnis zeigt verschiedenen Leuten Verschiedenes: Niemandes Schlüssel lassen sich prüfen.".into()
        }
        (CheckKind::NoAlarm { kind, .. }, _) => format!("Es gibt einen Alarm: {}.", (GERMAN.alarm)(*kind)),
        (CheckKind::Member, _) => "Das Protokoll des Kontos von jemandem hier stimmt nicht.".into(),
        (CheckKind::Log { who, entries: 1 }, _) => {
            format!("{who}: Der eine Eintrag im Protokoll des Kontos ist mit eigenen Schlüsseln unterschrieben.")
        }
        (CheckKind::Log { who, entries }, _) => {
            format!(
                "{who}: Alle {entries} Einträge im Protokoll des Kontos sind mit eigenen Schlüsseln unterschrieben."
            )
        }
        (CheckKind::Proven { who, records }, true) => format!(
            "{who}: Das Verzeichnis hat bewiesen, dass das Protokoll vollständig ist, im Stand von {}.",
            entries_of(*records)
        ),
        (CheckKind::Proven { who, .. }, false) => {
            format!("{who}: Das Verzeichnis hat noch nicht bewiesen, dass das Protokoll zu diesem Konto gehört.")
        }
        (CheckKind::Connected { who }, true) => {
            format!("{who}: Dieser Stand gehört zum selben Protokoll wie die, die du gesehen hast.")
        }
        (CheckKind::Connected { who }, false) => {
            format!(
                "{who}: Das Verzeichnis hat noch nicht gezeigt, dass dieser Stand zum selben Protokoll gehört wie deiner."
            )
        }
        (CheckKind::Handle { who }, true) => {
            format!("{who}: Das Verzeichnis hat bewiesen, dass der Name diesem Konto gehört.")
        }
        (CheckKind::Handle { who }, false) => {
            format!("Dass {who} ist, wer dahinter zu stehen scheint, hat das Verzeichnis nicht bewiesen.")
        }
        (CheckKind::Devices { who, count: 1 }, true) => {
            format!("{who}: Ein Gerät ist hier, und es steht im Protokoll des Kontos.")
        }
        (CheckKind::Devices { who, count }, true) => {
            format!("{who}: {count} Geräte sind hier, und jedes steht im Protokoll des Kontos.")
        }
        (CheckKind::Devices { who, .. }, false) => {
            format!("{who} hat hier ein Gerät, das nicht im Protokoll des Kontos steht.")
        }
        (CheckKind::NoDoubt { who, doubt }, _) => match doubt {
            Doubt::OtherThanFirst => format!("{who}: Das Protokoll des Kontos widerspricht dem, das zuerst da war."),
            Doubt::HandleDenied => format!("{who}: Der Server sagt, dass der Name diesem Konto nicht gehört."),
            Doubt::TakenBack => format!("{who}: Das Verzeichnis nimmt zurück, was es über das Konto gesagt hat."),
            Doubt::StartedOver => {
                format!("{who}: Der Name gehört jetzt einem anderen Konto. Frag auf einem anderen Weg nach.")
            }
            Doubt::KeptBack => format!("{who}: Das Verzeichnis verschweigt, was das Konto über seine Geräte sagt."),
            Doubt::OtherForThem => format!("{who}: Das Protokoll des Kontos ist dort ein anderes als hier."),
        },
        (CheckKind::OwnDevices, true) => "Jedes Gerät von dir hier steht im Protokoll deines eigenen Kontos.".into(),
        (CheckKind::OwnDevices, false) => {
            "Ein Gerät hier gibt sich als deins aus und steht nicht im Protokoll deines Kontos.".into()
        }
    }
}

fn entries_of(number: u64) -> String {
    format!("{number} {}", if number == 1 { "Eintrag" } else { "Einträgen" })
}

fn alarm_detail(kind: AlarmKind) -> &'static str {
    match kind {
        AlarmKind::Device => {
            "Es liest mit, was an dich geschrieben wird. Wenn du es nicht selbst hinzugefügt hast, hat jemand deine \
             Wiederherstellungswörter oder ein Gerät von dir: Sperre es."
        }
        AlarmKind::Log => {
            "Wenn du das nicht selbst warst, hat jemand deine Wiederherstellungswörter oder ein Gerät von dir. Sag es deinen Kontakten auf \
             einem anderen Weg."
        }
        AlarmKind::OtherLog => {
            "Jemandem werden Geräte gezeigt, die nicht die echten sind. Sag es deinen Kontakten auf einem anderen Weg, und behalte den \
             Beweis."
        }
        AlarmKind::TakenBack => {
            "Damit könnte ein Gerät versteckt werden, oder dass eines gesperrt ist. Schreib dort nichts Vertrauliches, bis es geklärt ist."
        }
        AlarmKind::Unpublished => {
            "Andere sehen deshalb einen alten Stand, vielleicht mit einem Gerät, das längst gesperrt ist. Sag es ihnen auf einem anderen Weg."
        }
        AlarmKind::HandleMoved => {
            "Wer jetzt nach diesem Namen sucht, erreicht ein anderes Konto. Wenn niemand absichtlich neu angefangen hat, frag auf einem \
             anderen Weg nach."
        }
        AlarmKind::Fork => {
            "Oder er kann nicht zeigen, dass er es nicht tut. Niemandes Schlüssel lassen sich prüfen. Behalte den Beweis, und sag es anderen \
             auf einem anderen Weg."
        }
        AlarmKind::Stale => {
            "Wem du zum ersten Mal schreibst, der lässt sich nicht prüfen. Vielleicht geht auch die Uhr dieses Geräts vor."
        }
        AlarmKind::Policy => {
            "Die gemerkten gelten weiter. Wenn der Betreiber keine neuen Schlüssel angekündigt hat, traue diesem Server nicht."
        }
        AlarmKind::Proof => "Wer dahinter steht, ist vielleicht nicht, wer es sein soll. Es wurde nichts gesendet.",
        AlarmKind::Unwitnessed => {
            "Bis sich das ändert, kannst du niemandem schreiben, den du noch nicht kennst. Bestehende Unterhaltungen gehen weiter."
        }
    }
}
