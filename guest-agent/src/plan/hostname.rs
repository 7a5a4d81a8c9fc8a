//! The host's name, of the document, vendor-data and user-data, and how the host finds itself by
//! it.

use mezame_model::{Document, report::Outcome};

use super::{Planner, seed::Seed};
use crate::step::Action;

impl Planner<'_> {
    /// As cloud-init chooses: the short name is the host's, the full one stands in /etc/hosts, and
    /// where only one of the two is given the other is made of it or is the document's.
    pub(super) fn hostname(&mut self, document: &Document, vendor: &Seed, user: &Seed) {
        let configs = [&user.config, &vendor.config];
        if configs.iter().any(|config| config.preserve_hostname) {
            let detail = "preserve_hostname is set".into();
            return self.settle("hostname".into(), Outcome::Skipped, "preserved", detail);
        }
        let hostname = configs.iter().find_map(|config| config.hostname.as_deref());
        let fqdn = configs.iter().find_map(|config| config.fqdn.as_deref());
        let short = |name: &str| name.split('.').next().unwrap_or_default().to_owned();
        let (host, fqdn) = match (hostname, fqdn) {
            (host, Some(fqdn)) => (host.map_or_else(|| short(fqdn), str::to_owned), fqdn),
            (Some(host), None) if host.contains('.') => (short(host), host),
            (Some(host), None) => (host.to_owned(), document.hostname.as_str()),
            (None, None) => (short(&document.hostname), document.hostname.as_str()),
        };
        let prefers_fqdn = configs.iter().find_map(|config| config.prefer_fqdn).unwrap_or_default();
        let wanted = if prefers_fqdn { fqdn } else { &host };
        if [wanted, fqdn].into_iter().any(|name| !mezame_model::id::is_hostname(name)) {
            let detail = mezame_model::id::HOSTNAME_RULE.into();
            return self.settle("hostname".into(), Outcome::Failed, "bad-value", detail);
        }
        self.always("hostname".into(), Action::Hostname(wanted.to_owned()));
        if configs.iter().find_map(|config| config.own_name_in_hosts) != Some(false) {
            let names = if *host == *fqdn { vec![host] } else { vec![fqdn.to_owned(), host] };
            self.always("own name".into(), Action::OwnName(names));
        }
    }
}
