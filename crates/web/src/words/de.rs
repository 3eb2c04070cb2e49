//! German.

use stonechat_api::{
    ChangeFault, Check, CommandError, Distrust, Doubt, Finding, GROUP_MEMBERS_MAX, GROUP_NAME_BYTES_MAX, Hold, Invalid,
    InvitationFault, KeyPackageFault, LetterFault, NotAllowed, Notice, Problem, Refusal, Rule, TEXT_BYTES_MAX,
};
use stonechat_wire::{ErrorCode, Handle};

use crate::protocol::{Fault, Lasting};

// --- faults ---

pub(super) fn fault(fault: &Fault) -> String {
    match fault {
        Fault::Command(why) => error(why),
        Fault::TimedOut => {
            "Das dauert zu lange. Es kann noch geschehen: Sieh nach, bevor du es noch einmal versuchst.".into()
        }
        Fault::TabClosed => {
            "Der Tab, der das gerade tat, wurde geschlossen. Vielleicht ist es geschehen: Sieh nach, bevor du es noch einmal versuchst.".into()
        }
        Fault::Unconfirmed => {
            "Der Server hat das Konto nicht bestätigt. Versuch es mit demselben Namen noch einmal, dann geht es dort weiter.".into()
        }
        Fault::AlreadySignedUp { handle } => {
            format!("Dieser Browser gehört schon {handle}. Melde dich zuerst ab.")
        }
        Fault::WordsForgotten => {
            "Die Wiederherstellungswörter wurden bestätigt und werden hier nicht mehr aufbewahrt.".into()
        }
        Fault::NoStorage => {
            "Dieser Browser gibt dieser Seite keinen eigenen Speicher: vielleicht ein privates Fenster, ein Rahmen in einer anderen Seite, \
             oder eine zu alte Version. Öffne Stonechat in einem gewöhnlichen Fenster eines aktuellen Browsers."
                .into()
        }
        Fault::StorageFull => {
            "Der Speicher dieses Browsers für diese Seite ist voll. Was gespeichert war, ist noch da. Schaff Platz, und lade die Seite neu."
                .into()
        }
        Fault::StorageBroken { detail } => {
            format!("Was hier gespeichert ist, ist beschädigt oder lässt sich nicht lesen; es blieb, wie es ist. ({detail})")
        }
        Fault::StorageNewer => {
            "Eine neuere Version dieser App hat geschrieben, was hier gespeichert ist. Lade die Seite neu, um sie zu bekommen.".into()
        }
        Fault::Unsupported { detail } => format!(
            "Diesem Browser, oder der Art, wie diese Seite geöffnet wurde, fehlt etwas, das Stonechat braucht ({detail}). Öffne sie über \
             https, in einem eigenen Fenster eines aktuellen Browsers."
        ),
        Fault::OtherTab => {
            "Stonechat ist in einem anderen Tab offen, und der antwortet nicht: Vielleicht ist er von einer älteren Version. Schließe ihn, \
             dann geht es hier weiter."
                .into()
        }
        Fault::Busy => "Einen Moment: Etwas anderes ist noch nicht fertig.".into(),
        Fault::Stopped => {
            "Stonechat wurde angehalten: Das ist ein Fehler von uns, oder dieser Browser ist zu alt dafür. Lade die Seite neu.".into()
        }
        Fault::Bug { detail } => format!("Das ist ein Fehler in Stonechat ({detail}). Lade die Seite neu."),
    }
}

pub(super) fn lasting(lasting: Lasting) -> &'static str {
    match lasting {
        Lasting::NotStonechat => "Unter dieser Adresse antwortet kein Stonechat-Server. Prüfe die Adresse.",
        Lasting::Version => {
            "Der Server spricht eine andere Version des Protokolls. Lade die Seite neu, um die passende App zu bekommen."
        }
        Lasting::Insecure => "Es gibt keine sichere Verbindung zum Server. Nichts wurde gesendet.",
    }
}

// --- commands ---

fn error(error: &CommandError) -> String {
    match error {
        CommandError::Offline => "Der Server ist nicht erreichbar, und dafür wird er gebraucht.".into(),
        CommandError::NoAccount => "Hier ist niemand angemeldet.".into(),
        CommandError::HandleTaken(who) => format!("Den Namen {who} hat schon jemand. Bitte wähle einen anderen."),
        CommandError::UnknownHandle(who) => {
            format!("Unter dem Namen {who} gibt es hier niemanden. Prüfe die Schreibweise.")
        }
        CommandError::NotReady(who) => format!("Kein Gerät von {who} ist bereit. Versuch es später noch einmal."),
        CommandError::Untrusted(who, why) => format!(
            "Was der Server über {who} sagt, lässt sich nicht bestätigen: {}. Nichts wurde gesendet, denn vielleicht ist es jemand \
             anders.",
            distrust(*why)
        ),
        CommandError::Yourself => "Das ist dein eigener Name.".into(),
        CommandError::UnknownConversation => "Diese Unterhaltung gibt es hier nicht.".into(),
        CommandError::UnknownRequest(who) => format!("Von {who} gibt es keine Anfrage mehr."),
        CommandError::NotAllowed(what) => not_allowed(what),
        CommandError::Invalid(what) => invalid(*what),
        CommandError::Refused { code, retry_after_secs } => {
            let when = retry_after_secs.map(|secs| format!(" Versuch es in {secs} s noch einmal.")).unwrap_or_default();
            format!("Der Server hat abgelehnt: {}.{when}", error_code(*code))
        }
        CommandError::Overtaken => {
            "Ein anderes Gerät dieses Kontos hat gleichzeitig die Geräte geändert. Versuch es noch einmal.".into()
        }
        CommandError::LogFull => {
            "Das Protokoll der Geräte dieses Kontos ist voll: Es lässt sich kein Gerät mehr hinzufügen oder sperren."
                .into()
        }
        CommandError::Directory(why) => format!(
            "Noch lässt sich nicht prüfen, wer das ist: {}. Nichts wurde gesendet; versuch es gleich noch einmal.",
            distrust(*why)
        ),
        CommandError::StartedOver(who) => format!(
            "Der Name {who} gehört jetzt einem anderen Konto als dem, das du kennst: Die Person hat neu angefangen, oder jemand anders hat \
             den Namen. Nichts wurde gesendet. Frag auf einem anderen Weg nach, dann nimm die Anfrage an."
        ),
        CommandError::Mismatch(who) => format!(
            "Das ist nicht die Sicherheitsnummer, die du mit {who} teilst: Ihr sprecht nicht beide miteinander. Schreib nichts, was unter \
             euch bleiben muss, und sag es auf einem anderen Weg."
        ),
        CommandError::UnknownDevice(_) => "Dieses Gerät hat das Konto nicht. Sieh in die Liste der Geräte.".into(),
        CommandError::ThisDevice => "Das ist dieses Gerät; sperre es von einem anderen aus.".into(),
        CommandError::UnknownAlarm => "Diesen Alarm gibt es nicht mehr.".into(),
    }
}

fn not_allowed(what: &NotAllowed) -> String {
    match what {
        NotAllowed::NotInConversation => "Du bist nicht mehr in dieser Unterhaltung.".into(),
        NotAllowed::NotInGroup => "Du bist nicht mehr in dieser Gruppe.".into(),
        NotAllowed::NotAGroup => "Das ist keine Gruppe, sondern eine Unterhaltung zu zweit.".into(),
        NotAllowed::OwnerOnly { group } => format!("Das darf in {group} nur, wem die Gruppe gehört."),
        NotAllowed::AdminsOnly { group } => {
            format!("Das dürfen in {group} nur Admins und die Person, der die Gruppe gehört.")
        }
        NotAllowed::NotAMember { who, group } => format!("{who} ist nicht in {group}."),
        NotAllowed::OwnerRemoves { who } => format!("{who} kann nur entfernen, wem die Gruppe gehört."),
        NotAllowed::GiveOwnership => "Gib die Gruppe stattdessen an jemand anders ab.".into(),
    }
}

fn invalid(what: Invalid) -> String {
    match what {
        Invalid::EmptyText => "Die Nachricht ist leer. Schreib etwas.".into(),
        Invalid::TextTooLong { bytes } => format!(
            "Die Nachricht ist zu lang: {bytes} Bytes, und höchstens {} KiB passen. Teile sie auf.",
            TEXT_BYTES_MAX / 1024
        ),
        Invalid::DraftTooLong { bytes } => format!(
            "Der Entwurf ist zu lang und wird nicht aufgehoben: {bytes} Bytes, und höchstens {} KiB passen in eine Nachricht.",
            TEXT_BYTES_MAX / 1024
        ),
        Invalid::NoGroupName => "Die Gruppe braucht einen Namen.".into(),
        Invalid::GroupNameTooLong { bytes } => {
            format!("Der Gruppenname ist zu lang: {bytes} Bytes, und höchstens {GROUP_NAME_BYTES_MAX} passen.")
        }
        Invalid::TooManyMembers => format!("Eine Gruppe hat höchstens {GROUP_MEMBERS_MAX} Mitglieder."),
        Invalid::NoMembers => "Nenne jemanden, der dazukommen soll.".into(),
        Invalid::SafetyNumber => {
            "Das ist weder eine Sicherheitsnummer (60 Ziffern) noch der Text ihres Codes. Es wurde nichts verglichen.".into()
        }
        Invalid::Policy => {
            "Das sind nicht die Schlüssel eines Verzeichnisses. Nimm die Datei so, wie der Betreiber sie veröffentlicht."
                .into()
        }
    }
}

// --- why something is not believed or not followed: parts of sentences ---

fn distrust(why: Distrust) -> String {
    match why {
        Distrust::NoPolicy => "die Schlüssel des Verzeichnisses sind hier noch nicht bekannt".into(),
        Distrust::Witnesses { have, need } => {
            format!("{have} Zeugen des Verzeichnisses bestätigen, was es zeigt, und {need} müssen es sein")
        }
        Distrust::Server(code) => error_code(code).into(),
        Distrust::Head => "was das Verzeichnis zeigt, ist nicht mit seinen Schlüsseln unterschrieben".into(),
        Distrust::Proof => "der Beweis des Verzeichnisses stimmt nicht".into(),
        Distrust::OtherLog => "das Protokoll des Kontos ist nicht das, das im Verzeichnis steht".into(),
        Distrust::OtherAccount => "der Name gehört einem anderen Konto".into(),
        Distrust::NoHandle => "der Beweis für den Namen fehlt".into(),
        Distrust::Old => "das Verzeichnis zeigt einen alten Stand, oder die Uhr dieses Geräts geht vor".into(),
        Distrust::Future => {
            "das Verzeichnis zeigt einen Stand aus der Zukunft: Die Uhr dieses Geräts geht nach, oder seine geht vor"
                .into()
        }
        Distrust::TakenBack => "das Verzeichnis nimmt zurück, was es über das Konto gesagt hat".into(),
        Distrust::Forked => "das Verzeichnis zeigt verschiedenen Leuten Verschiedenes".into(),
        Distrust::Log => "das Protokoll des Kontos verstößt gegen die Regeln".into(),
        Distrust::Contradicts => "das Protokoll des Kontos widerspricht dem, das zuerst da war".into(),
    }
}

fn error_code(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::Malformed => "er konnte nicht lesen, was gesendet wurde",
        ErrorCode::Version => {
            "diese App und der Server sprechen verschiedene Versionen des Protokolls; die ältere braucht ein Update"
        }
        ErrorCode::WrongConnection => "die Anfrage ist auf dieser Verbindung nicht erlaubt",
        ErrorCode::NotAuthenticated => "er lässt dieses Gerät nicht ein",
        ErrorCode::NotFound => "das gibt es dort nicht",
        ErrorCode::HandleTaken => "den Namen hat schon jemand",
        ErrorCode::InvalidAccount => "der Eintrag im Protokoll des Kontos ist nicht gültig",
        ErrorCode::EpochOver => "die Unterhaltung ist weitergegangen",
        ErrorCode::Conflict => "die Kennung wird schon verwendet",
        ErrorCode::InvalidToken => "die anonyme Marke gilt nicht",
        ErrorCode::Quota => "für heute ist das Kontingent aufgebraucht",
        ErrorCode::Full => "es ist kein Platz; versuch es später noch einmal",
        ErrorCode::Closed => "die Person nimmt keine Nachrichten von Unbekannten an",
        ErrorCode::Slow => "es waren zu viele Anfragen; langsamer bitte",
        ErrorCode::Unavailable => "er kann das gerade nicht; versuch es später noch einmal",
        ErrorCode::Unpublished => "das Verzeichnis hat es noch nicht veröffentlicht; versuch es gleich noch einmal",
        ErrorCode::InviteNeeded => {
            "für ein neues Konto braucht es eine gültige Einladung; frag, wer diesen Server betreibt, nach einer"
        }
        ErrorCode::Suspended => "wer diesen Server betreibt, hat dieses Konto gesperrt",
    }
}

pub(super) fn refusal(refusal: &Refusal) -> String {
    match refusal {
        Refusal::Unsealed => "Ein Eintrag, den kein Mitglied verschlossen hat, wurde übergangen.".into(),
        Refusal::Undecryptable => "Ein Eintrag, der sich nicht entschlüsseln lässt, wurde übergangen.".into(),
        Refusal::Proposal => "Ein Vorschlag, den diese App nicht annimmt, wurde übergangen.".into(),
        Refusal::Disguised => "Eine Änderung, die sich als Nachricht ausgab, wurde übergangen.".into(),
        Refusal::Malformed => {
            "Eine Nachricht, die sich nicht lesen lässt, wurde übergangen: Die App der anderen Seite ist kaputt oder neuer.".into()
        }
        Refusal::LeftOut => {
            "Der Server hat eine Nachricht bestätigt und dann weggelassen; sie wird noch einmal gesendet.".into()
        }
        Refusal::OtherLogs => {
            "Der Server hat zwei Mitgliedern verschiedene Fassungen dieser Unterhaltung gezeigt. Vergleicht, was ihr seht.".into()
        }
        Refusal::Change(why) => format!("Eine Änderung der Unterhaltung wurde abgelehnt: {}.", change(*why)),
        Refusal::OwnAccount(why) => {
            format!("Was das Verzeichnis über dieses Konto sagt, stimmt nicht: {}.", distrust(*why))
        }
        Refusal::Handle { who } => {
            format!("Jemand nennt sich {who}, und der Server sagt, dass der Name diesem Konto nicht gehört.")
        }
        Refusal::Letter(why) => format!("Ein Brief im Posteingang wurde weggeworfen: {}.", letter(*why)),
        Refusal::Invitation(why) => format!("Einer Einladung ließ sich nicht folgen: {}.", invitation(*why)),
        Refusal::Inbox { who } => format!(
            "{who} lässt sich nicht einladen: Ein Gerät hat keinen brauchbaren Schlüssel für den Posteingang, oder das Protokoll des Kontos \
             ist zu lang."
        ),
        Refusal::LetterLost(code) => format!("Ein Brief ließ sich nicht zustellen: {}.", error_code(*code)),
        Refusal::OfferedDevice { who, why } => {
            format!("Der Server hat ein Gerät von {who} angeboten, das keines ist: {}.", key_package(*why))
        }
        Refusal::Head => "Ein Stand des Verzeichnisses, der nicht stimmt, wurde verworfen.".into(),
        Refusal::UnsignedHead => {
            "Ein Mitglied hat von einem Stand des Verzeichnisses erzählt, den es nie unterschrieben hat; das wurde ignoriert.".into()
        }
        Refusal::TokenKeys => {
            "Der Server zeigt auf zwei Verbindungen verschiedene Schlüssel für Marken; damit könnte er sie verknüpfen. Eine wurde \
             geschlossen."
                .into()
        }
        Refusal::Tokens => "Die Marken des Servers stimmen nicht und wurden weggeworfen.".into(),
        Refusal::Misbehaved => {
            "Der Server hat etwas gesendet, das nicht passt; die Verbindung wurde geschlossen und wird neu geöffnet.".into()
        }
        Refusal::LogIn(code) => format!("Die Anmeldung beim Server ist misslungen: {}.", error_code(*code)),
        Refusal::InboxKept(code) => {
            format!("Der Server hat gelesene Briefe nicht zurückgenommen: {}.", error_code(*code))
        }
        Refusal::Supplies(code) => {
            format!("Der Server hebt nicht auf, was dieses Gerät anderen anbietet: {}.", error_code(*code))
        }
    }
}

fn change(why: ChangeFault) -> String {
    match why {
        ChangeFault::Unsealed => "kein Mitglied hat sie verschlossen".into(),
        ChangeFault::NotACommit => "sie ist keine Änderung".into(),
        ChangeFault::Mls => "sie verstößt gegen die Regeln von MLS".into(),
        ChangeFault::State => "der neue Stand der Gruppe ist nicht lesbar".into(),
        ChangeFault::Evidence => "was sie belegen soll, ist nicht lesbar".into(),
        ChangeFault::NeedlessLog => "sie bringt das Protokoll eines Kontos mit, das sie nicht braucht".into(),
        ChangeFault::Account(why) => format!("ein Konto, das sie mitbringt: {}", distrust(why)),
        ChangeFault::Unproven => "sie nimmt jemanden auf, ohne was das Verzeichnis dazu sagt".into(),
        ChangeFault::Capabilities => "sie nennt andere Zugangsschlüssel als die ihrer Epoche".into(),
        ChangeFault::Rule(why) => rule(why),
        ChangeFault::TooMany => "es sind zu viele auf einmal; nimm weniger".into(),
        ChangeFault::TooLarge => "die Gruppe ist zu groß, um noch jemanden einzuladen".into(),
    }
}

fn rule(rule: Rule) -> String {
    match rule {
        Rule::External => "sie kam von außerhalb der Gruppe",
        Rule::Proposal => "sie enthält einen Vorschlag, wie es ihn hier nicht gibt",
        Rule::Committer => "sie ist nicht von einem Mitglied, das bleibt",
        Rule::NoSuchLeaf => "sie entfernt ein Gerät, das nicht da ist",
        Rule::UnknownAccount => "sie nennt ein Konto, dessen Protokoll nicht bekannt ist",
        Rule::UnknownDevice => "sie nennt ein Gerät, das sein Konto nicht hat",
        Rule::Identity => "wer sie gemacht hat, gibt sich darin als jemand anders aus",
        Rule::Duplicate => "sie nimmt ein Gerät auf, das schon da ist",
        Rule::TooMany => return format!("die Gruppe würde größer als {GROUP_MEMBERS_MAX} Personen"),
        Rule::Kind => "sie ändert die Art der Unterhaltung",
        Rule::DirectState => "sie gibt einer Unterhaltung zu zweit einen Namen oder Rollen",
        Rule::Stranger => "sie nimmt jemand Drittes in eine Unterhaltung zu zweit auf",
        Rule::Add => "wer jemanden aufgenommen hat, darf das nicht",
        Rule::Remove => "wer jemanden entfernt hat, darf das in dieser Rolle nicht",
        Rule::Rename => "wer die Gruppe umbenannt hat, darf das nicht",
        Rule::Roles => "wer Rollen geändert hat, darf das nicht",
        Rule::RoleOfStranger => "sie gibt jemandem eine Rolle, der nicht in der Gruppe ist",
        Rule::Unsettled => "sie lässt Rollen zurück, die sonst jemand bekäme",
        Rule::State => "der neue Stand der Gruppe ist nicht gültig",
    }
    .into()
}

fn letter(why: LetterFault) -> String {
    match why {
        LetterFault::Unreadable => "er lässt sich nicht lesen".into(),
        LetterFault::Signature => "er ist nicht von einem Gerät seines Absenders unterschrieben".into(),
        LetterFault::Sender(why) => distrust(why),
        LetterFault::Unknown => "er ist von jemand Unbekanntem und bringt keinen Beweis des Verzeichnisses mit".into(),
        LetterFault::AlreadyIn => "er lädt in eine Unterhaltung ein, in der dieses Gerät schon ist".into(),
        LetterFault::TooMany => "es warten zu viele Anfragen; entscheide über einige".into(),
        LetterFault::OtherConversation => "er betrifft eine Unterhaltung, die dieses Gerät nicht hat".into(),
        LetterFault::KeyPackage(why) => format!("das Schlüsselpaket darin: {}", key_package(why)),
    }
}

fn key_package(why: KeyPackageFault) -> &'static str {
    match why {
        KeyPackageFault::Malformed => "es lässt sich nicht lesen",
        KeyPackageFault::UnknownDevice => "das Gerät steht nicht im Protokoll des Kontos",
        KeyPackageFault::OtherDevice => "es nennt ein anderes Gerät",
        KeyPackageFault::OtherKey => "es ist mit einem anderen Schlüssel unterschrieben",
        KeyPackageFault::Expired => "es ist abgelaufen",
    }
}

fn invitation(why: InvitationFault) -> String {
    match why {
        InvitationFault::TooOld => "sie ist zu alt; bitte darum, noch einmal hinzugefügt zu werden".into(),
        InvitationFault::Malformed => "sie lässt sich nicht lesen".into(),
        InvitationFault::Account(why) => format!("ein Konto, das sie mitbringt: {}", distrust(why)),
        InvitationFault::Mls => {
            "sie verstößt gegen die Regeln von MLS oder wurde für Schlüssel gemacht, die dieses Gerät nicht mehr hat"
                .into()
        }
        InvitationFault::OtherKeyPackage => {
            "sie verwendet nicht das Schlüsselpaket, mit dem dieses Gerät gebeten hat".into()
        }
        InvitationFault::OtherThanSaid => "sie ist nicht, was der Brief sagte".into(),
        InvitationFault::State => "der Stand der Gruppe ist nicht lesbar".into(),
        InvitationFault::StrangeMember => "jemand darin hat Schlüssel, die nicht im Protokoll des Kontos stehen".into(),
        InvitationFault::OtherKind => "sie ist eine andere Art Unterhaltung, als der Brief sagte".into(),
    }
}

// --- conversations ---

pub(super) fn hold(hold: &Hold) -> String {
    match hold {
        Hold::NotMade(Some(code)) => format!("Der Server legt diese Unterhaltung nicht an: {}.", error_code(*code)),
        Hold::NotMade(None) => "Der Server legt diese Unterhaltung nicht an.".into(),
        Hold::NotReady { who, waits } => {
            let who = who.as_ref().map_or_else(|| "jemandem hier".to_owned(), Handle::to_string);
            let waits = if *waits { " Was du schreibst, wird gesendet, sobald eines bereit ist." } else { "" };
            format!("Gerade ist kein Gerät von {who} bereit.{waits}")
        }
        Hold::Rejoining => {
            "Dieses Gerät war zu lange weg und hat die anderen gebeten, es noch einmal hinzuzufügen.".into()
        }
        Hold::OtherLogs => {
            "Der Server hat Mitgliedern verschiedene Fassungen dieser Unterhaltung gezeigt. Vergleicht, was ihr seht."
                .into()
        }
        Hold::Change(why) => format!("Eine Änderung war nicht möglich: {}.", change(*why)),
        Hold::Leaving => "Du verlässt diese Gruppe…".into(),
        Hold::Left => "Du hast diese Gruppe verlassen.".into(),
        Hold::Removed => "Du wurdest aus dieser Gruppe entfernt.".into(),
        Hold::Unrecorded => {
            "Eine ältere Version dieser App hat vermerkt, dass hier etwas aufhält, und diese Version weiß nicht, was."
                .into()
        }
    }
}

pub(super) fn notice(notice: &Notice) -> String {
    match notice {
        Notice::DeviceAdded(who) => format!("{who} hat ein Gerät hinzugefügt."),
        Notice::DeviceRevoked(who) => format!("{who} hat ein Gerät entfernt."),
        Notice::StartedOver(who) => format!(
            "{who} hat mit einem anderen Konto neu angefangen. Wer den Namen jetzt hat, ist nicht das Konto, das du kennst. Frag auf einem \
             anderen Weg nach, bevor du annimmst, und vergleicht die Sicherheitsnummern."
        ),
    }
}

// --- trust ---

pub(super) fn check(check: &Check) -> String {
    match check {
        Check::Pinned { origin, threshold, witnesses } => format!(
            "Die Schlüssel des Verzeichnisses sind gemerkt, seit es dieses Konto gibt: {origin}, mit {threshold} von {witnesses} Zeugen."
        ),
        Check::OneLog { records } => format!(
            "Alle Stände des Verzeichnisses, die du und deine Kontakte gesehen haben, gehören zu einem Protokoll, jetzt mit {}.",
            entries_of(*records)
        ),
        Check::Log { who, entries: 1 } => {
            format!("{who}: Der eine Eintrag im Protokoll des Kontos ist mit eigenen Schlüsseln unterschrieben.")
        }
        Check::Log { who, entries } => {
            format!(
                "{who}: Alle {entries} Einträge im Protokoll des Kontos sind mit eigenen Schlüsseln unterschrieben."
            )
        }
        Check::Proven { who, records } => format!(
            "{who}: Das Verzeichnis hat bewiesen, dass das Protokoll vollständig ist, im Stand von {}.",
            entries_of(*records)
        ),
        Check::Connected { who } => {
            format!("{who}: Dieser Stand gehört zum selben Protokoll wie die, die du gesehen hast.")
        }
        Check::Handle { who } => {
            format!("{who}: Das Verzeichnis hat bewiesen, dass der Name diesem Konto gehört.")
        }
        Check::Devices { who, count: 1 } => {
            format!("{who}: Ein Gerät ist hier, und es steht im Protokoll des Kontos.")
        }
        Check::Devices { who, count } => {
            format!("{who}: {count} Geräte sind hier, und jedes steht im Protokoll des Kontos.")
        }
        Check::OwnDevices => "Jedes Gerät von dir hier steht im Protokoll deines eigenen Kontos.".into(),
    }
}

pub(super) fn problem(problem: &Problem) -> String {
    match problem {
        Problem::NotPinned => "Die Schlüssel des Verzeichnisses sind hier noch nicht bekannt.".into(),
        Problem::Forked => {
            "Das Verzeichnis zeigt verschiedenen Leuten Verschiedenes: Niemandes Schlüssel lassen sich prüfen.".into()
        }
        Problem::Alarm { finding: Finding::Unrecorded, .. } => {
            "Es gibt einen Alarm. Sieh in die Liste der Alarme.".into()
        }
        Problem::Alarm { finding: found, .. } => finding(found),
        Problem::Log => "Das Protokoll des Kontos von jemandem hier stimmt nicht.".into(),
        Problem::NotProven { who } => {
            format!("{who}: Das Verzeichnis hat noch nicht bewiesen, dass das Protokoll zu diesem Konto gehört.")
        }
        Problem::NotConnected { who } => {
            format!(
                "{who}: Das Verzeichnis hat noch nicht gezeigt, dass dieser Stand zum selben Protokoll gehört wie deiner."
            )
        }
        Problem::NotTheirHandle { who } => {
            format!("Dass {who} ist, wer dahinter zu stehen scheint, hat das Verzeichnis nicht bewiesen.")
        }
        Problem::StrangeDevice { who } => {
            format!("{who} hat hier ein Gerät, das nicht im Protokoll des Kontos steht.")
        }
        Problem::Doubt { who, doubt } => match doubt {
            Doubt::OtherThanFirst => format!("{who}: Das Protokoll des Kontos widerspricht dem, das zuerst da war."),
            Doubt::HandleDenied => format!("{who}: Der Server sagt, dass der Name diesem Konto nicht gehört."),
            Doubt::TakenBack => format!("{who}: Das Verzeichnis nimmt zurück, was es über das Konto gesagt hat."),
            Doubt::StartedOver => {
                format!("{who}: Der Name gehört jetzt einem anderen Konto. Frag auf einem anderen Weg nach.")
            }
            Doubt::KeptBack => format!("{who}: Das Verzeichnis verschweigt, was das Konto über seine Geräte sagt."),
            Doubt::OtherForThem => format!("{who}: Das Protokoll des Kontos ist dort ein anderes als hier."),
        },
        Problem::StrangeOwnDevice => {
            "Ein Gerät hier gibt sich als deins aus und steht nicht im Protokoll deines Kontos.".into()
        }
    }
}

pub(super) fn finding(finding: &Finding) -> String {
    match finding {
        Finding::Unrecorded => {
            "Eine ältere Version dieser App hat das gefunden und in Worten vermerkt, die diese Version nicht kennt. Kommt es wieder vor, wird \
             es noch einmal gemeldet."
                .into()
        }
        Finding::DeviceAdded { device } => format!(
            "Deinem Konto wurde ein Gerät hinzugefügt, und nicht von hier: {device}. Es liest mit, was von jetzt an geschrieben wird. Wenn du \
             das nicht warst, hat jemand deine Wiederherstellungswörter oder ein Gerät von dir: Sperre es jetzt."
        ),
        Finding::DeviceRevoked { device } => format!(
            "Das Gerät {device} deines Kontos wurde gesperrt, und nicht von hier. Wenn du das nicht warst, hat jemand Schlüssel deines Kontos."
        ),
        Finding::ThisDeviceRevoked => {
            "Dieses Gerät wurde von einem anderen Gerät deines Kontos gesperrt. Es kann nichts Neues mehr lesen.".into()
        }
        Finding::RecoveryReplaced => {
            "Deine Wiederherstellungswörter wurden ersetzt, und nicht von hier. Wenn du das nicht warst, hat jemand die Schlüssel deines \
             Kontos. Sag es deinen Kontakten auf einem anderen Weg."
                .into()
        }
        Finding::OwnLogForged => {
            "Das Verzeichnis nennt für dich ein Protokoll, das deine Schlüssel nicht unterschrieben haben: Anderen werden Geräte gezeigt, die \
             nicht deine sind. Sag es deinen Kontakten auf einem anderen Weg, und behalte den Beweis."
                .into()
        }
        Finding::OwnLogWasForged { epoch } => format!(
            "In seiner Epoche {epoch} nannte das Verzeichnis für dich ein Protokoll, das deine Schlüssel nicht unterschrieben haben: Anderen \
             wurden Geräte gezeigt, die nicht deine sind. Sag es deinen Kontakten auf einem anderen Weg."
        ),
        Finding::OwnLogTakenBack => {
            "Das Verzeichnis hat einen Teil des Protokolls deines Kontos zurückgenommen: Anderen wird eine ältere Liste deiner Geräte gezeigt, \
             auch mit denen, die du gesperrt hast. Sag es ihnen auf einem anderen Weg."
                .into()
        }
        Finding::OwnLogUnpublished => {
            "Der Server hat eine Änderung deiner Geräte angenommen und veröffentlicht sie nicht: Andere vertrauen noch dem, was du gesperrt \
             hast. Sag es ihnen auf einem anderen Weg."
                .into()
        }
        Finding::OwnHandleGiven { handle } => format!(
            "Das Verzeichnis gibt deinen Namen {handle} einem anderen Konto: Wer dich jetzt sucht, erreicht jemand anders. Wenn du damit nicht \
             selbst neu angefangen hast, sag es deinen Kontakten auf einem anderen Weg."
        ),
        Finding::OwnProofFails { why } => format!(
            "Was das Verzeichnis über dein eigenes Konto sagt, stimmt nicht: {}. Vielleicht werden anderen Geräte gezeigt, die nicht deine \
             sind.",
            distrust(*why)
        ),
        Finding::OtherLog { who } => format!(
            "Das Verzeichnis zeigt für {who} ein anderes Protokoll als zuvor: Vielleicht ist es jemand anders. Frag auf einem anderen Weg nach."
        ),
        Finding::OtherLogForThem { who } => format!(
            "Bei {} selbst ist das Protokoll des Kontos ein anderes als das, welches das Verzeichnis hier zeigt. Verständigt euch auf einem \
             anderen Weg.",
            somebody(who.as_ref())
        ),
        Finding::ProofFails { who: Some(who), why } => {
            format!(
                "Was der Server über {who} sagt, stimmt nicht: {}. Vielleicht ist es jemand anders.",
                distrust(*why)
            )
        }
        Finding::ProofFails { who: None, why } => {
            format!(
                "Was der Server über jemanden sagt, stimmt nicht: {}. Vielleicht ist es jemand anders.",
                distrust(*why)
            )
        }
        Finding::TakenBack { who } => format!(
            "Das Verzeichnis nimmt zurück, was es über das Konto von {who} gesagt hat: Damit könnte ein Gerät versteckt werden, oder dass eines \
             gesperrt ist. Schreib dort nichts Vertrauliches, bis es geklärt ist."
        ),
        Finding::HandleMoved { handle } => format!(
            "Der Name {handle} gehört jetzt einem anderen Konto als zuvor. Die Person hat neu angefangen, oder jemand anders hat den Namen: \
             Frag auf einem anderen Weg nach, und vergleicht die Sicherheitsnummern."
        ),
        Finding::KeptBack { who } => format!(
            "{who} sagt, dass das eigene Protokoll länger ist, als das Verzeichnis zeigt: Es könnte verschweigen, dass ein Gerät gesperrt ist. \
             Frag auf einem anderen Weg nach."
        ),
        Finding::Stale => {
            "Wem du zum ersten Mal schreibst, der lässt sich nicht prüfen: Das Verzeichnis zeigt einen alten Stand, oder die Uhr dieses Geräts \
             geht vor. Stell die Uhr richtig; wenn sie stimmt, sag es dem Betreiber."
                .into()
        }
        Finding::Future => {
            "Wem du zum ersten Mal schreibst, der lässt sich nicht prüfen: Das Verzeichnis zeigt einen Stand aus der Zukunft. Die Uhr dieses \
             Geräts geht nach, oder seine geht vor. Stell die Uhr richtig; wenn sie stimmt, sag es dem Betreiber."
                .into()
        }
        Finding::Forked => {
            "Das Verzeichnis zeigt verschiedenen Leuten Verschiedenes, oder es kann nicht zeigen, dass es das nicht tut. Niemandes Schlüssel \
             lassen sich prüfen. Behalte den Beweis, und sag es anderen auf einem anderen Weg."
                .into()
        }
        Finding::Unwitnessed { have, need } => format!(
            "Das Verzeichnis zeigt keinen Stand, den genug seiner Zeugen bestätigen ({have} von {need}). Bis sich das ändert, kannst du \
             niemandem schreiben, den du noch nicht kennst. Bestehende Unterhaltungen gehen weiter."
        ),
        Finding::PolicyUnreadable => {
            "Welche Schlüssel das Verzeichnis hat, lässt sich beim Server nicht lesen. Die gemerkten gelten weiter; sag es dem Betreiber.".into()
        }
        Finding::OtherPolicy => {
            "Der Server nennt andere Schlüssel des Verzeichnisses als die, die beim Anlegen dieses Kontos gemerkt wurden. Die gemerkten gelten \
             weiter. Wenn der Betreiber keine neuen angekündigt hat, traue diesem Server nicht."
                .into()
        }
    }
}

fn somebody(who: Option<&Handle>) -> String {
    who.map_or_else(|| "jemandem".to_owned(), Handle::to_string)
}

fn entries_of(number: u64) -> String {
    format!("{number} {}", if number == 1 { "Eintrag" } else { "Einträgen" })
}
