//! The network of one device as it is, so that it can be had back on it.
//!
//! With all that others have set there. Which devices, and when, is not decided here.

use base64::{Engine, engine::general_purpose::STANDARD};
use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

use crate::{
    facts::Link,
    platform::{
        Result,
        linux::netlink::{Netlink, RawAddress, RawRoute},
    },
};

/// A device's MTU, addresses and routes.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Device {
    pub(super) name: String,
    mtu: Option<u32>,
    /// As the kernel told them (rtnetlink(7)), in base64: with all that the agent knows nothing of,
    /// such as the lifetime of one that was leased.
    told: Vec<String>,
    /// Likewise.
    routes: Vec<String>,
}

impl Device {
    /// What it has now.
    pub(super) fn look(netlink: &mut Netlink, link: &Link) -> Result<Self> {
        let mtu = netlink.sight(&link.name)?.mtu;
        let told = netlink.raw_addresses(link.index)?;
        let told = told.iter().map(|it| STANDARD.encode(it.bytes())).collect();
        let routes = netlink.raw_routes(link.index)?;
        let routes = routes.iter().map(|it| STANDARD.encode(it.bytes())).collect();
        Ok(Self { name: link.name.clone(), mtu, told, routes })
    }

    /// Its addresses.
    fn addresses(&self) -> impl Iterator<Item = RawAddress> {
        self.told.iter().filter_map(|text| RawAddress::parse(&STANDARD.decode(text).ok()?))
    }

    /// Its addresses, without what only the kernel knows of them.
    pub(super) fn networks(&self) -> impl Iterator<Item = IpNetwork> {
        self.addresses().filter_map(|it| it.network())
    }

    /// Puts it back, so many seconds later, on the device of this name, which may have been made
    /// anew since. One address or route that is refused keeps no other away; the first error is told.
    pub(super) fn put_back(&self, netlink: &mut Netlink, seconds: u32) -> Result<()> {
        let link = netlink.link(&self.name)?;
        let read = |text: &String| RawRoute::parse(&STANDARD.decode(text).ok()?);
        let routes: Vec<RawRoute> =
            self.routes.iter().filter_map(|it| Some(read(it)?.through(link.index))).collect();
        let mut result = Ok(());
        for route in netlink.raw_routes(link.index)? {
            if !routes.iter().any(|known| known.is_same(&route)) {
                result = result.and(netlink.remove_raw_route(&route));
            }
        }
        // One whose time was over has been renewed, if it is there.
        for address in link.addresses.iter().filter(|it| self.networks().all(|own| own != **it)) {
            result = result.and(netlink.remove_address(link.index, *address));
        }
        if let Some(mtu) = self.mtu {
            result = result.and(netlink.set_link(link.index, true, Some(mtu)));
        }
        result = result.and(self.add_addresses(netlink, seconds));
        let there = netlink.raw_routes(link.index)?;
        // Routes on the link first: the others' routers are reached by them.
        let (on_link, others): (Vec<_>, Vec<_>) =
            routes.into_iter().partition(|route| !route.has_gateway());
        for route in on_link.iter().chain(&others) {
            if !there.iter().any(|known| known.is_same(route)) {
                result = result.and(netlink.add_raw_route(route));
            }
        }
        result
    }

    /// With the first address of a subnet the kernel takes the later ones away, and with a device's
    /// MTU below 1280 those of IPv6.
    fn add_addresses(&self, netlink: &mut Netlink, seconds: u32) -> Result<()> {
        let now = netlink.link(&self.name)?;
        let is_there = |it: &RawAddress| it.network().is_some_and(|it| now.addresses.contains(&it));
        let mut result = Ok(());
        for address in self.addresses().filter(|it| !is_there(it)) {
            if let Some(address) = address.on(now.index).after(seconds) {
                result = result.and(netlink.add_raw_address(&address));
            }
        }
        result
    }
}
