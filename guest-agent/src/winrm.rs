//! What PowerShell is told, so that WinRM listens by HTTPS with a certificate that the guest has
//! made, or no longer. Pure.
//!
//! First it is asked what is there ([`LOOK`], read by [`Now::parse`]), then it is told what is
//! missing ([`changes`]); the certificate's private key never leaves the guest's own store. Of a
//! record only numbers and host names get into a script, and a host name is letters, digits, '-'
//! and '.' alone. Scripts hold no double quotes: they are one word of a command line.
//!
//! The agent's certificates are known by their friendly name. A listener with another one's is the
//! image's or somebody's and is left alone, and so are the listener for HTTP and its rules.
//!
//! Follows Microsoft, "Installation and configuration for Windows Remote Management",
//! "New-WSManInstance", "Set-WSManInstance", "New-SelfSignedCertificate", "About WSMan Provider".

use std::collections::BTreeSet;

use mezame_model::{Winrm, id::is_hostname};
use serde::{Deserialize, Serialize};

use crate::thumbprint::Thumbprint;

/// A certificate with fewer days left is made anew.
const DAYS_LEFT: i64 = 30;
/// How many years a new one lasts, where the system's PowerShell lets one say so; else one.
const YEARS: u32 = 5;
/// Which listener: there is one at most for all addresses.
const SELECTOR: &str = "-ResourceURI winrm/config/Listener -SelectorSet @{Address='*';\
                        Transport='HTTPS'}";
/// What every script begins with: the first mistake ends it, and nothing else is said.
const HEAD: &str = "$ErrorActionPreference='Stop'; $ProgressPreference='SilentlyContinue'; ";

/// Has the service run, now and from each boot on, and says what there is, a line for each.
pub const LOOK: &str = "$ErrorActionPreference='Stop'; $ProgressPreference='SilentlyContinue'; \
    $s=Get-CimInstance Win32_Service -Filter 'Name=''WinRM'''; \
    if($s.StartMode -ne 'Auto'){Set-Service WinRM -StartupType Automatic; 'service changed'}; \
    if($s.State -ne 'Running'){Start-Service WinRM; 'service changed'}; \
    'basic '+(Get-Item WSMan:\\localhost\\Service\\Auth\\Basic).Value; \
    Get-WSManInstance -ResourceURI winrm/config/Listener -Enumerate | \
    Where-Object {$_.Transport -eq 'HTTPS' -and $_.Address -eq '*'} | \
    ForEach-Object {'listener '+$_.Port+' '+$_.CertificateThumbprint}; \
    Get-ChildItem Cert:\\LocalMachine\\My | Where-Object {$_.FriendlyName -eq 'Mezame WinRM'} | \
    ForEach-Object {'certificate '+$_.Thumbprint+' '+\
    [int]($_.NotAfter-(Get-Date)).TotalDays+' '+(($_.DnsNameList | \
    ForEach-Object {$_.Unicode}) -join ',')}; 'end'";

/// Why WinRM can't be what it is to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WinrmError {
    /// PowerShell did not say what it was asked.
    #[error("PowerShell did not say what there is, but {0:?}")]
    Answer(String),
    /// There can be one such listener only, and it is not the agent's.
    #[error(
        "there is a listener for HTTPS already which the agent has not made (certificate \
         {thumbprint:?}): `winrm delete winrm/config/Listener?Address=*+Transport=HTTPS` takes it away"
    )]
    Taken {
        /// Its certificate.
        thumbprint: String,
    },
    /// A certificate can't be made for such a name.
    #[error("{0:?} is no host name")]
    Name(String),
}

/// The names that a certificate is for: letters, digits, '-' and '.' alone. The first one, the
/// computer's own, is the subject.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Names(Vec<String>);

impl Names {
    /// Of a host name: its first label, and the whole.
    pub fn of(hostname: &str) -> Result<Self, WinrmError> {
        if !is_hostname(hostname) {
            return Err(WinrmError::Name(hostname.to_owned()));
        }
        let whole = hostname.to_ascii_lowercase();
        let label = whole.split('.').next().unwrap_or(&whole).to_owned();
        Ok(Self(if label == whole { vec![label] } else { vec![label, whole] }))
    }

    fn first(&self) -> &str {
        self.0.first().map_or("", String::as_str)
    }
}

/// A certificate of the agent's.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Certificate {
    thumbprint: Thumbprint,
    days_left: i64,
    /// In whatever order the system has them.
    names: BTreeSet<String>,
}

/// The listener for HTTPS on all addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Listener {
    port: String,
    /// As it stands there; it may be none at all.
    thumbprint: String,
}

/// What there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Now {
    /// Whether asking has changed the service.
    pub is_service_changed: bool,
    /// Whether Basic is taken.
    pub basic: bool,
    listener: Option<Listener>,
    certificates: Vec<Certificate>,
}

impl Now {
    /// Reads what [`LOOK`] says.
    pub fn parse(said: &str) -> Result<Self, WinrmError> {
        let odd = || WinrmError::Answer(said.trim().chars().take(500).collect());
        let (mut changed, mut basic, mut listener, mut ended) = (false, None, None, false);
        let mut certificates = Vec::new();
        for line in said.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("service") => changed = true,
                Some("basic") => basic = words.next().map(|word| word.eq_ignore_ascii_case("true")),
                Some("listener") => {
                    let port = words.next().ok_or_else(odd)?.to_owned();
                    // Some write them with spaces.
                    let thumbprint = words.collect::<String>().to_ascii_uppercase();
                    listener = Some(Listener { port, thumbprint });
                }
                Some("certificate") => {
                    let thumbprint = words.next().and_then(Thumbprint::parse).ok_or_else(odd)?;
                    let days = words.next().and_then(|word| word.parse().ok()).ok_or_else(odd)?;
                    let names = words.next().unwrap_or_default().split(',');
                    let names = names.map(str::to_ascii_lowercase).collect();
                    certificates.push(Certificate { thumbprint, days_left: days, names });
                }
                Some("end") => ended = true,
                _ => {}
            }
        }
        // Only the end of a long answer is known.
        let basic = basic.filter(|_| ended).ok_or_else(odd)?;
        Ok(Self { is_service_changed: changed, basic, listener, certificates })
    }

    /// The certificate that clients see, where it is one of the agent's.
    pub fn thumbprint(&self) -> Option<&Thumbprint> {
        let seen = &self.listener.as_ref()?.thumbprint;
        self.certificates.iter().map(|it| &it.thumbprint).find(|it| it.as_str() == seen)
    }
}

/// What the agent has noted of what it did here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Noted {
    /// The certificate that its listener had.
    pub thumbprint: Option<Thumbprint>,
    /// It was the agent that had Basic taken.
    pub basic: bool,
}

/// The script that makes it so; None where it is.
pub fn changes(
    wanted: &Winrm,
    names: &Names,
    now: &Now,
    noted: &Noted,
) -> Result<Option<String>, WinrmError> {
    let is_ours = |it: &Listener| {
        let known = now.certificates.iter().map(|it| &it.thumbprint).chain(&noted.thumbprint);
        known.into_iter().any(|known| known.as_str() == it.thumbprint)
    };
    let mut out = String::new();
    if wanted.https {
        if let Some(listener) = now.listener.as_ref().filter(|it| !is_ours(it)) {
            return Err(WinrmError::Taken { thumbprint: listener.thumbprint.clone() });
        }
        listen(wanted, names, now, &mut out);
        if now.basic != wanted.basic {
            out.push_str(&basic(wanted.basic));
        }
    } else {
        if now.listener.as_ref().is_some_and(is_ours) {
            out.push_str(&format!("Remove-WSManInstance {SELECTOR}; "));
        }
        for certificate in &now.certificates {
            out.push_str(&remove(&certificate.thumbprint));
        }
        if now.basic && noted.basic {
            out.push_str(&basic(false));
        }
    }
    Ok((!out.is_empty()).then(|| format!("{HEAD}{}", out.trim_end())))
}

/// The certificate, the listener with it, and then the end of other certificates of the agent's.
fn listen(wanted: &Winrm, names: &Names, now: &Now, out: &mut String) {
    let all: BTreeSet<String> = names.0.iter().cloned().collect();
    let is_good = |it: &&Certificate| it.days_left >= DAYS_LEFT && it.names == all;
    let seen = now.thumbprint();
    let mut good: Vec<_> = now.certificates.iter().filter(is_good).collect();
    good.sort_by_key(|it| Some(&it.thumbprint) != seen);
    let chosen = good.first().map(|it| &it.thumbprint);
    let listener = now.listener.as_ref();
    let port = wanted.port.to_string();
    let fits = |it: &Listener| it.port == port && chosen.is_some_and(|it| Some(it) == seen);
    if !listener.is_some_and(fits) {
        match chosen {
            Some(thumbprint) => out.push_str(&format!("$t='{}'; ", thumbprint.as_str())),
            None => out.push_str(&make(names)),
        }
        let verb = if listener.is_some() { "Set" } else { "New" };
        let name = names.first();
        out.push_str(&format!(
            "{verb}-WSManInstance {SELECTOR} -ValueSet @{{Hostname='{name}';\
             CertificateThumbprint=$t;Port='{port}'}} | Out-Null; "
        ));
    }
    for other in now.certificates.iter().filter(|it| Some(&it.thumbprint) != chosen) {
        out.push_str(&remove(&other.thumbprint));
    }
}

/// Older systems' PowerShell can't say how long it lasts, nor that its key stays.
fn make(names: &Names) -> String {
    let list: Vec<String> = names.0.iter().map(|name| format!("'{name}'")).collect();
    format!(
        "$o=@{{DnsName=@({});CertStoreLocation='Cert:\\LocalMachine\\My'}}; \
         $k=(Get-Command New-SelfSignedCertificate).Parameters; \
         if($k.ContainsKey('NotAfter')){{$o.NotAfter=(Get-Date).AddYears({YEARS})}}; \
         if($k.ContainsKey('KeyExportPolicy')){{$o.KeyExportPolicy='NonExportable'}}; \
         $t=(New-SelfSignedCertificate @o).Thumbprint; \
         (Get-Item ('Cert:\\LocalMachine\\My\\'+$t)).FriendlyName='Mezame WinRM'; ",
        list.join(",")
    )
}

fn remove(thumbprint: &Thumbprint) -> String {
    format!("Remove-Item 'Cert:\\LocalMachine\\My\\{}' -DeleteKey; ", thumbprint.as_str())
}

fn basic(on: bool) -> String {
    format!("Set-Item WSMan:\\localhost\\Service\\Auth\\Basic -Value ${on} -Force; ")
}

#[cfg(test)]
mod tests;
