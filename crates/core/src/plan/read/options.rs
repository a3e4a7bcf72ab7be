//! The rest of a plan's keys: labels, bounds, routing, and whom to tell.

use std::collections::BTreeMap;

use super::fields::{Field, Reader, short};
use super::hooks::{check_cookie, check_header_name};
use super::values::Span;
use crate::lambda::timeouts::{UpstreamTimeouts, Wait};
use crate::model::arn::{NameError, VersionNumber};
use crate::model::weight::Weight;
use crate::plan::keys;
use crate::plan::model::{
    Affinity, Channel, MaxExposure, Mirror, MirrorMethods, Notify, RoutingOptions, StableUnhealthy,
    StepDeadline, Tunnels, Value, VersionChoice, WatchPlan,
};
use crate::plan::suggest::nearest;
use crate::plan::tree::Content;
use crate::plan::words::EVENTS;

/// Beyond it a bound bounds nothing.
const EXPOSURE_MAX: u64 = 1_000_000_000_000_000;

impl Reader<'_> {
    /// Takes `labels`.
    pub fn labels(&mut self, field: &Field<'_>) -> Option<BTreeMap<String, String>> {
        let mut labels = BTreeMap::new();
        let mut sound = true;
        for entry in self.own_map(field)? {
            if let Err(NameError(rule)) = check_label(&entry.key) {
                self.faults
                    .error(entry.place, format!("`{}` cannot be a label", short(&entry.key)))
                    .help(rule);
                sound = false;
            }
            let value = Field {
                what: format!("the label `{}`", short(&entry.key)),
                example: "team: payments",
                at: entry.place,
                is_optional: false,
                node: &entry.value,
            };
            match self.text(&value) {
                Some(text) if text.chars().count() > 128 => {
                    self.refuse_text(
                        &value,
                        "is longer than 128 characters",
                        Some("labels are short".to_owned()),
                    );
                    sound = false;
                }
                Some(text) => {
                    labels.entry(entry.key.clone()).or_insert_with(|| text.to_owned());
                }
                None => sound = false,
            }
        }
        sound.then_some(labels)
    }

    /// Takes `version`.
    pub fn version(&mut self, field: &Field<'_>) -> Option<VersionChoice> {
        let (text, _) = self.word(field, "`newest` or a version's number")?;
        if text == "newest" {
            return Some(VersionChoice::Newest);
        }
        match text.parse::<VersionNumber>() {
            Ok(number) => Some(VersionChoice::Number(number)),
            Err(_) => {
                let meant = match text {
                    "latest" | "last" | "new" => Some("did you mean `newest`?".to_owned()),
                    "$LATEST" => Some(
                        "a rollout moves published versions: did you mean `newest`, the version published last?".to_owned(),
                    ),
                    _ => {
                        let digits = text.trim_start_matches(['v', 'V']);
                        digits.parse::<VersionNumber>().ok().map(|number| format!("did you mean \"{number}\"?"))
                    }
                };
                self.not(field, "`newest` or a version's number", text, meant);
                None
            }
        }
    }

    /// Takes `maxExposure`.
    pub fn max_exposure(&mut self, field: &Field<'_>) -> Option<MaxExposure> {
        let fields = self.map(field, &keys::MAX_EXPOSURE)?;
        let bound = |reader: &mut Self, field: &Field<'_>| {
            reader.none_or(field, |reader, field| reader.count(field, 1..=EXPOSURE_MAX))
        };
        let failures = fields.get("failures").map_or(Some(None), |field| bound(self, &field));
        let requests = fields.get("requests").map_or(Some(None), |field| bound(self, &field));
        Some(MaxExposure { failures: failures?, requests: requests? })
    }

    /// Takes `stableUnhealthy`.
    pub fn stable_unhealthy(&mut self, field: &Field<'_>) -> Option<StableUnhealthy> {
        let fields = self.map(field, &keys::STABLE_UNHEALTHY)?;
        let default = StableUnhealthy::default();
        let failures =
            fields.get("failures").map_or(Some(default.failures), |field| self.share(&field, 0.0001..=100.0));
        let span = fields.get("for").map_or(Some(default.span), |field| self.span(&field, Span::Positive));
        Some(StableUnhealthy { failures: failures?, span: span? })
    }

    /// Takes `watch`.
    pub fn watch(&mut self, field: &Field<'_>) -> Option<WatchPlan> {
        let fields = self.map(field, &keys::WATCH)?;
        let default = WatchPlan::default();
        let span = fields.get("for").map_or(Some(default.span), |field| self.span(&field, Span::Positive));
        if let Some(field) = fields.get("onAlarm")
            && self.scalar_text(&field) == Some("probe")
        {
            self.faults.error(field.place(), "this serin does not probe after an alarm yet").help(
                "write `onAlarm: notify`; `serin rollback` gives the traffic back to the version before",
            );
            return None;
        }
        let on_alarm = fields.get("onAlarm").map_or(Some(default.on_alarm), |field| self.choice(&field));
        Some(WatchPlan { span: span?, on_alarm: on_alarm? })
    }

    /// Takes `stepDeadline`.
    pub fn step_deadline(&mut self, field: &Field<'_>) -> Option<StepDeadline> {
        if self.scalar_text(field) == Some("none") {
            self.faults
                .error(field.place(), "`stepDeadline` cannot be `none`: a rollout must not wait for ever")
                .help("write a long one, as in `stepDeadline: {after: 30d, then: pause}`");
            return None;
        }
        let fields = self.map(field, &keys::STEP_DEADLINE)?;
        let default = StepDeadline::default();
        let after =
            fields.get("after").map_or(Some(default.after), |field| self.span(&field, Span::Positive));
        let then = fields.get("then").map_or(Some(default.then), |field| self.choice(&field));
        Some(StepDeadline { after: after?, then: then? })
    }

    /// Takes `routing`.
    pub fn routing(&mut self, field: &Field<'_>) -> Option<RoutingOptions> {
        let fields = self.map(field, &keys::ROUTING)?;
        let affinity = fields
            .get("affinity")
            .map_or(Some(None), |field| self.none_or(&field, |reader, field| reader.affinity(field)));
        let override_header = fields
            .get("override")
            .map_or(Some(None), |field| self.none_or(&field, |reader, field| reader.override_header(field)));
        let share = fields
            .get("mirror")
            .map_or(Some(None), |field| self.none_or(&field, |reader, field| reader.weight(field)));
        let methods = fields
            .get("mirrorMethods")
            .map_or(Some(MirrorMethods::default()), |field| self.choice::<MirrorMethods>(&field));
        let mirror = share.zip(methods).map(|(share, methods)| {
            share.filter(|share| *share > Weight::ZERO).map(|share| Mirror { share, methods })
        });
        if mirror == Some(None)
            && let (Some(MirrorMethods::Any), Some(field)) = (methods, fields.get("mirrorMethods"))
        {
            self.faults
                .error(
                    field.place(),
                    "`mirrorMethods` says of what there are copies, and `mirror` asks for none",
                )
                .help("write `mirror: 10%` beside it, or leave it out");
        }
        Some(RoutingOptions { affinity: affinity?, override_header: override_header?, mirror: mirror? })
    }

    fn affinity(&mut self, field: &Field<'_>) -> Option<Affinity> {
        let fields = self.map(field, &keys::AFFINITY)?;
        match (fields.get("cookie"), fields.get("header")) {
            (Some(cookie), None) => self.name(&cookie, check_cookie).map(Affinity::Cookie),
            (None, Some(header)) => self.name(&header, check_header_name).map(Affinity::Header),
            (Some(cookie), Some(header)) => {
                self.faults
                    .error(header.at, "affinity goes by a `cookie` or by a `header`, not by both")
                    .help("delete one")
                    .related(cookie.at, "`cookie` is here");
                None
            }
            (None, None) => {
                self.missing(&fields, field.at, &field.what, "cookie");
                None
            }
        }
    }

    fn override_header(&mut self, field: &Field<'_>) -> Option<String> {
        let fields = self.map(field, &keys::OVERRIDE)?;
        let Some(header) = fields.get("header") else {
            self.missing(&fields, field.at, &field.what, "header");
            return None;
        };
        self.name(&header, check_header_name)
    }

    /// Takes `timeouts`.
    pub fn timeouts(&mut self, field: &Field<'_>) -> Option<UpstreamTimeouts> {
        let fields = self.map(field, &keys::TIMEOUTS)?;
        let mut wait = |name| match fields.get(name) {
            None => Some(None),
            Some(field) => self.span(&field, Span::FinePositive).map(|span| Some(Wait::checked(span))),
        };
        let (first_byte, idle) = (wait("firstByte"), wait("idle"));
        Some(UpstreamTimeouts { first_byte: first_byte?, idle: idle? })
    }

    /// Takes `tunnels`.
    pub fn tunnels(&mut self, field: &Field<'_>) -> Option<Tunnels> {
        const EXPECTED: &str = "`leave` or `{close: 30s}`";
        if !matches!(field.node.content, Content::Map(_)) {
            let (text, _) = self.word(field, EXPECTED)?;
            if text == "leave" {
                return Some(Tunnels::Leave);
            }
            let meant = match text {
                "close" => Some("say within which time, as in `tunnels: {close: 30s}`".to_owned()),
                _ => nearest(text, ["leave"]).map(|word| format!("did you mean `{word}`?")),
            };
            self.not(field, EXPECTED, text, meant);
            return None;
        }
        let fields = self.map(field, &keys::TUNNELS)?;
        let Some(close) = fields.get("close") else {
            self.missing(&fields, field.at, &field.what, "close");
            return None;
        };
        self.span(&close, Span::Any).map(Tunnels::Close)
    }

    /// Takes `notify`.
    pub fn notify(&mut self, field: &Field<'_>) -> Option<Vec<Notify>> {
        let items = self.list(field)?;
        let entries: Vec<Option<Notify>> = items
            .iter()
            .map(|item| {
                let item = Field {
                    example: "{slack: {url: {env: SLACK_URL}}, events: all}",
                    ..field.item("an entry of `notify`", item)
                };
                self.notify_entry(&item)
            })
            .collect();
        entries.into_iter().collect()
    }

    fn notify_entry(&mut self, item: &Field<'_>) -> Option<Notify> {
        let fields = self.map(item, &keys::NOTIFY)?;
        let channel = match (fields.get("slack"), fields.get("webhook")) {
            (Some(slack), None) => self.channel_url(&slack).map(Channel::Slack),
            (None, Some(webhook)) => self.channel_url(&webhook).map(Channel::Webhook),
            (Some(slack), Some(webhook)) => {
                self.faults
                    .error(webhook.at, "an entry of `notify` is one channel, not two")
                    .help("make two entries")
                    .related(slack.at, "`slack` is here");
                None
            }
            (None, None) => {
                self.faults
                    .error(item.place(), "this entry of `notify` names no channel")
                    .help("write `slack: {url: {env: SLACK_URL}}` or `webhook: {url: …}`");
                None
            }
        };
        let events = fields.get("events").map_or(Some(None), |events| self.events(&events));
        Some(Notify { channel: channel?, events: events? })
    }

    fn channel_url(&mut self, field: &Field<'_>) -> Option<Value> {
        let fields = self.map(field, &keys::CHANNEL)?;
        let Some(url) = fields.get("url") else {
            self.missing(&fields, field.at, &field.what, "url");
            return None;
        };
        self.url(&url)
    }

    /// `all`, or a list of events; the inner `None` is `all`.
    fn events(&mut self, field: &Field<'_>) -> Option<Option<Vec<String>>> {
        if let Content::Text { text, .. } = &field.node.content
            && text == "all"
        {
            return Some(None);
        }
        let items = self.list(field)?;
        let mut events: Vec<String> = Vec::with_capacity(items.len());
        for item in items {
            let item = field.item("an event", item);
            let (text, _) = self.word(&item, "the name of an event")?;
            if EVENTS.contains(&text) {
                if !events.iter().any(|known| known == text) {
                    events.push(text.to_owned());
                }
                continue;
            }
            let help = match nearest(text, EVENTS.iter().copied()) {
                Some(known) => format!("did you mean `{known}`?"),
                None => format!("the events are {}, or `events: all`", EVENTS.join(", ")),
            };
            self.faults.error(item.place(), format!("there is no event `{}`", short(text))).help(help);
            return None;
        }
        Some(Some(events))
    }
}

fn check_label(text: &str) -> Result<(), NameError> {
    let sign = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let starts_well = !text.starts_with(|first: char| first.is_ascii_digit()) && !text.starts_with("__");
    if (1..=64).contains(&text.len()) && text.bytes().all(sign) && starts_well {
        return Ok(());
    }
    Err(NameError(
        "a label's name is letters, digits and underscores, begins with neither a digit nor two underscores, and has at \
         most 64 characters",
    ))
}
