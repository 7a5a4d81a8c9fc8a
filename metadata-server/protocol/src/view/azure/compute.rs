//! `compute`: what Azure tells a machine about itself.
//!
//! All values are texts, and those that do not apply here are there and empty, as Azure has it.
//! The names of Azure's things stand for ours: a subscription is made of the project's name, a
//! resource group is the project, a machine's size its instance type, its zone the place of the
//! zone's letter. `osProfile.adminUsername` is empty, so that the keys go to the image's own user.

use base64::{Engine, engine::general_purpose::STANDARD};
use mezame_model::{Guest, smbios};
use ring::digest;
use serde_json::{Map, Value, json};

use super::version::Version;

/// A field: its name, the version in which it came, its value.
type Field = (&'static str, &'static str, fn(&Guest, Version) -> Value);

/// The fields, sorted.
const FIELDS: [Field; 39] = [
    ("additionalCapabilities", "2021-11-01", |_, _| json!({ "hibernationEnabled": "false" })),
    ("azEnvironment", "2018-10-01", |_, _| "AzurePublicCloud".into()),
    ("customData", "2019-02-01", empty),
    ("evictionPolicy", "2020-12-01", empty),
    ("extendedLocation", "2021-03-01", |_, _| json!({ "name": "", "type": "" })),
    ("host", "2021-11-15", |_, _| json!({ "id": "" })),
    ("hostGroup", "2021-11-15", |_, _| json!({ "id": "" })),
    ("isHostCompatibilityLayerVm", "2020-06-01", |_, _| "false".into()),
    ("licenseType", "2020-09-01", empty),
    ("location", "2017-04-02", |it, _| (*it.site.region).into()),
    ("name", "2017-04-02", |it, _| it.instance.name.as_str().into()),
    ("offer", "2017-04-02", empty),
    ("osProfile", "2020-07-15", os_profile),
    ("osType", "2017-04-02", |_, _| OS_TYPE.into()),
    ("physicalZone", "2023-11-15", empty),
    ("placementGroupId", "2017-08-01", empty),
    ("plan", "2018-04-02", |_, _| plan()),
    ("platformFaultDomain", "2017-04-02", |_, _| "0".into()),
    ("platformSubFaultDomain", "2021-10-01", empty),
    ("platformUpdateDomain", "2017-04-02", |_, _| "0".into()),
    ("priority", "2020-12-01", |_, _| "Regular".into()),
    ("provider", "2018-10-01", |_, _| "Microsoft.Compute".into()),
    ("publicKeys", "2018-04-02", public_keys),
    ("publisher", "2017-04-02", empty),
    ("resourceGroupName", "2017-08-01", |it, _| it.instance.project.as_str().into()),
    ("resourceId", "2019-03-11", |it, _| resource_id(it).into()),
    ("securityProfile", "2020-06-01", security_profile),
    ("sku", "2017-04-02", empty),
    ("storageProfile", "2019-06-01", storage_profile),
    ("subscriptionId", "2017-08-01", |it, _| subscription_id(it).into()),
    ("tags", "2017-08-01", |it, _| tags(it).into()),
    ("tagsList", "2019-06-04", tags_list),
    ("userData", "2021-01-01", |it, _| user_data(it).into()),
    ("version", "2017-04-02", empty),
    ("virtualMachineScaleSet", "2021-03-01", |_, _| json!({ "id": "" })),
    ("vmId", "2017-04-02", |it, _| vm_id(it).into()),
    ("vmScaleSetName", "2017-12-01", empty),
    ("vmSize", "2017-04-02", |it, _| (*it.instance.instance_type).into()),
    ("zone", "2017-12-01", |it, _| zone(it).into()),
];

/// A record does not say which system its image has.
const OS_TYPE: &str = "Linux";

/// All fields that the version has.
pub(super) fn document(guest: &Guest, version: Version) -> Value {
    let known = FIELDS.iter().filter(|(_, since, _)| version.has(since));
    let fields: Map<_, _> =
        known.map(|(name, _, value)| ((*name).to_owned(), value(guest, version))).collect();
    fields.into()
}

/// One of them.
pub(super) fn field(guest: &Guest, version: Version, name: &str) -> Option<Value> {
    let (_, _, value) =
        FIELDS.iter().find(|(known, since, _)| *known == name && version.has(since))?;
    Some(value(guest, version))
}

fn empty(_: &Guest, _: Version) -> Value {
    "".into()
}

/// The machine's UUID, as its SMBIOS has it.
pub(super) fn vm_id(guest: &Guest) -> String {
    smbios::uuid(&guest.instance.id)
}

/// An image of Azure's market has a plan; ours are none.
pub(super) fn plan() -> Value {
    json!({ "name": "", "product": "", "publisher": "" })
}

/// A UUID that stands for the project: derived, so stable and never stored (RFC 9562, version 8).
pub(super) fn subscription_id(guest: &Guest) -> String {
    let hash = digest::digest(&digest::SHA256, guest.instance.project.as_str().as_bytes());
    let hex: String = hash.as_ref()[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{}-8{}-8{}-{}", &hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..])
}

fn resource_id(guest: &Guest) -> String {
    format!(
        "/subscriptions/{}/resourceGroups/{}/providers/Microsoft.Compute/virtualMachines/{}",
        subscription_id(guest),
        guest.instance.project,
        guest.instance.name
    )
}

/// Azure counts its zones: `a` is the first.
fn zone(guest: &Guest) -> String {
    (u32::from(guest.instance.zone).saturating_sub(u32::from('a')) + 1).to_string()
}

fn os_profile(guest: &Guest, version: Version) -> Value {
    let mut fields = json!({ "adminUsername": "", "computerName": guest.fqdn() });
    if version.has("2020-10-01") {
        fields["disablePasswordAuthentication"] = "true".into();
    }
    fields
}

fn public_keys(guest: &Guest, _: Version) -> Value {
    let lines = guest.instance.ssh_keys.iter();
    lines.map(|line| json!({ "keyData": line, "path": "" })).collect()
}

fn security_profile(_: &Guest, version: Version) -> Value {
    let mut fields = json!({ "secureBootEnabled": "false", "virtualTpmEnabled": "false" });
    if version.has("2021-11-01") {
        fields["encryptionAtHost"] = "false".into();
    }
    if version.has("2021-12-13") {
        fields["securityType"] = "".into();
    }
    fields
}

/// The image by its id. Disks are the hypervisor's business, so none is described.
fn storage_profile(guest: &Guest, version: Version) -> Value {
    let mut image = json!({
        "id": guest.instance.image_id, "offer": "", "publisher": "", "sku": "", "version": "",
    });
    if version.has("2023-07-01") {
        for name in ["communityGalleryImageId", "exactVersion", "sharedGalleryImageId"] {
            image[name] = "".into();
        }
    }
    let mut fields = json!({
        "dataDisks": [],
        "imageReference": image,
        "osDisk": {
            "caching": "",
            "createOption": "FromImage",
            "diffDiskSettings": { "option": "" },
            "diskSizeGB": "",
            "encryptionSettings": { "enabled": "false" },
            "image": { "uri": "" },
            "managedDisk": { "id": "", "storageAccountType": "" },
            "name": "",
            "osType": OS_TYPE,
            "vhd": { "uri": "" },
            "writeAcceleratorEnabled": "false",
        },
    });
    if version.has("2021-02-01") {
        fields["resourceDisk"] = json!({ "size": "0" });
    }
    fields
}

fn tags(guest: &Guest) -> String {
    let pairs: Vec<_> =
        guest.instance.tags.iter().map(|(key, value)| format!("{key}:{value}")).collect();
    pairs.join(";")
}

fn tags_list(guest: &Guest, _: Version) -> Value {
    let tag = |(name, value)| json!({ "name": name, "value": value });
    guest.instance.tags.iter().map(tag).collect()
}

fn user_data(guest: &Guest) -> String {
    guest.instance.user_data.as_ref().map(|data| STANDARD.encode(data.bytes())).unwrap_or_default()
}
