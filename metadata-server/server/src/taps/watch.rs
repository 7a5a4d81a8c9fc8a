//! Sees devices come, go and be renamed, by rtnetlink(7)'s link group.
//!
//! Events can be lost when many come at once. Then the kernel says so and the watch begins anew
//! with a scan of everything, so no device is missed for good.

use std::collections::HashMap;

use futures_util::{StreamExt, TryStreamExt, stream::BoxStream};
use rtnetlink::{
    Handle, MulticastGroup,
    packet_core::NetlinkPayload,
    packet_route::{
        AddressFamily, RouteNetlinkMessage,
        link::{LinkAttribute, LinkMessage},
    },
};

/// What happened to a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkEvent {
    /// It is there under this name; perhaps nothing changed.
    Seen {
        /// The device.
        ifindex: u32,
        /// Its name.
        name: String,
        /// How often its carrier came up; 0 where the kernel does not say.
        carriers: u32,
    },
    /// It is gone, or moved to another namespace.
    Gone {
        /// The device.
        ifindex: u32,
    },
}

/// A device there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Its name.
    pub name: String,
    /// How often its carrier came up.
    pub carriers: u32,
}

/// Why devices can't be watched.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// There is no netlink socket to be had.
    #[error("opening a netlink socket failed")]
    Open(#[source] std::io::Error),
    /// The devices can't be listed.
    #[error("listing the devices failed")]
    List(#[source] rtnetlink::Error),
}

/// What the kernel says.
enum Heard {
    /// Something about a device.
    Event(LinkEvent),
    /// There was no room for all that happened (netlink(7), ENOBUFS).
    Lost,
    /// Nothing about devices.
    Other,
}

/// A watch over the devices of the calling thread's network namespace.
pub struct LinkWatch {
    handle: Handle,
    events: BoxStream<'static, Heard>,
    connection: tokio::task::AbortHandle,
}

impl LinkWatch {
    /// Begins to watch. What happens from now on is seen, so a scan after this misses nothing.
    pub fn open() -> Result<Self, WatchError> {
        let (connection, handle, messages) =
            rtnetlink::new_multicast_connection(&[MulticastGroup::Link])
                .map_err(WatchError::Open)?;
        let connection = tokio::spawn(connection).abort_handle();
        let events = messages.map(|(message, _)| match message.payload {
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) => {
                seen(&link).map_or(Heard::Other, Heard::Event)
            }
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelLink(link))
                if is_of_device(&link) =>
            {
                Heard::Event(LinkEvent::Gone { ifindex: link.header.index })
            }
            NetlinkPayload::Overrun(_) => Heard::Lost,
            _ => Heard::Other,
        });
        Ok(Self { handle, events: events.boxed(), connection })
    }

    /// All devices there are now.
    pub async fn scan(&self) -> Result<HashMap<u32, Device>, WatchError> {
        let links: Vec<LinkMessage> =
            self.handle.link().get().execute().try_collect().await.map_err(WatchError::List)?;
        let named = links.iter().filter_map(|link| match seen(link)? {
            LinkEvent::Seen { ifindex, name, carriers } => {
                Some((ifindex, Device { name, carriers }))
            }
            LinkEvent::Gone { .. } => None,
        });
        Ok(named.collect())
    }

    /// The next event; none when events were lost and a new watch has to be opened.
    pub async fn next(&mut self) -> Option<LinkEvent> {
        loop {
            match self.events.next().await? {
                Heard::Event(event) => return Some(event),
                Heard::Lost => return None,
                Heard::Other => {}
            }
        }
    }
}

impl Drop for LinkWatch {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

/// Whether it is about the device itself. Bridges tell about their ports in the same group: a VLAN or a
/// state of the spanning tree as of a link that is new, without its count of carriers, and a port that
/// leaves the bridge as of one that is gone (net/bridge/br_netlink.c).
fn is_of_device(link: &LinkMessage) -> bool {
    link.header.interface_family == AddressFamily::Unspec
}

fn seen(link: &LinkMessage) -> Option<LinkEvent> {
    if !is_of_device(link) {
        return None;
    }
    let name = link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name.clone()),
        _ => None,
    })?;
    let carriers = link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::CarrierUpCount(count) => Some(*count),
        _ => None,
    });
    let carriers = carriers.unwrap_or_default();
    Some(LinkEvent::Seen { ifindex: link.header.index, name, carriers })
}

#[cfg(test)]
mod tests;
