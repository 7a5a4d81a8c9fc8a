//! Who freezes a guest, as it is asked for and shown.

use mezame_model::api::freezing::Freezing;

use crate::command::FreezeArguments;

/// What is asked for; None where nobody is to.
pub(super) fn freezing_of(arguments: FreezeArguments) -> Option<Freezing> {
    let FreezeArguments { instance, guest_agent, require_consistent, freeze_within } = arguments;
    if instance.is_none() && guest_agent.is_none() {
        return None;
    }
    let within = freeze_within.map(|it| u32::try_from(it.as_millis()).unwrap_or(u32::MAX));
    Some(Freezing { instance, guest_agent, required: require_consistent, within_ms: within })
}

/// In a line.
pub(super) fn shown(freezing: &Freezing) -> String {
    let Freezing { instance, guest_agent, required, within_ms } = freezing;
    let mut words = Vec::new();
    words.extend(instance.iter().map(|it| format!("by the agent of {it}")));
    words.extend(guest_agent.iter().map(|it| format!("by qemu-ga at {}", it.display())));
    words.extend(within_ms.iter().map(|it| format!("for {it} ms at most")));
    words.extend(required.then(|| "or not at all".to_owned()));
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_freeze_is_asked_for_where_somebody_is_named_and_shown_in_a_line() {
        let arguments = |instance: Option<&str>| FreezeArguments {
            instance: instance.map(Into::into),
            guest_agent: None,
            require_consistent: true,
            freeze_within: Some(Duration::from_secs(5)),
        };
        assert_eq!(freezing_of(arguments(None)), None);
        let asked = freezing_of(arguments(Some("web"))).unwrap();
        assert_eq!((asked.required, asked.within_ms), (true, Some(5000)));
        assert_eq!(shown(&asked), "by the agent of web, for 5000 ms at most, or not at all");
    }
}
