//! Persistent routes that lead to link-local services through a gateway of another network. Pure.
//!
//! Amazon's EC2Launch and EC2Config add such routes to the metadata, time and activation services
//! (169.254.169.254, .253, .250, .251, .249 and .123), and a captured image keeps them: in its
//! clone they lead through a gateway that is not there. Windows keeps them as the *names* of
//! values, `DESTINATION,MASK,GATEWAY,METRIC` (`route print` shows them under "Persistent Routes").

use std::net::Ipv4Addr;

/// A persistent route to a link-local service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StaleRoute {
    /// The service.
    pub destination: Ipv4Addr,
    /// Where the route leads.
    pub gateway: Ipv4Addr,
}

/// Reads the name of a value; none where the route is not one of those, which stay.
pub fn parse(name: &str) -> Option<StaleRoute> {
    let mut fields = name.split(',').map(str::trim);
    let destination: Ipv4Addr = fields.next()?.parse().ok()?;
    let mask: Ipv4Addr = fields.next()?.parse().ok()?;
    let gateway: Ipv4Addr = fields.next()?.parse().ok()?;
    // One on the link does no harm: somebody may have added it on purpose.
    let is_stale = destination.octets().starts_with(&[169, 254, 169])
        && mask.is_broadcast()
        && !gateway.is_unspecified();
    is_stale.then_some(StaleRoute { destination, gateway })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_to_link_local_services_are_stale_and_all_others_stay() {
        let stale = parse("169.254.169.254,255.255.255.255,10.0.0.1,15").unwrap();
        assert_eq!(stale.destination, Ipv4Addr::new(169, 254, 169, 254));
        assert_eq!(stale.gateway, Ipv4Addr::new(10, 0, 0, 1));
        assert!(parse("169.254.169.250, 255.255.255.255, 10.0.0.1, 15").is_some());
        for other in [
            "10.1.0.0,255.255.0.0,10.0.0.1,1",
            "169.254.0.0,255.255.0.0,10.0.0.1,1",
            "169.254.169.254,255.255.255.255,0.0.0.0,1",
            "169.254.169.254",
            "a,b,c,d",
            "",
            ",,,",
        ] {
            assert_eq!(parse(other), None, "{other:?}");
        }
    }
}
