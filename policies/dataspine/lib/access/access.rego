# METADATA
# description: |
#   Who may do what. Roles and grants are configuration; without it only the local user of a workspace without
#   `auth` may do anything, and a remote principal nothing.
package dataspine.lib.access

# METADATA
# description: Whether a principal, as {name, roles, local}, has a permission on a resource.
is_permitted(principal, _, _) if principal.local == true

is_permitted(principal, permission, resource) if {
	some grant in data.dataspine.config.access.grants
	_is_meant(grant, principal)
	_covers(grant, permission)
	glob.match(object.get(grant, "resources", "**"), ["."], resource)
}

_is_meant(grant, principal) if grant.principal == principal.name

# Only names that no token verified are globs: `*` stops at the machine.
_is_meant(grant, principal) if {
	startswith(grant.principal, "local:")
	glob.match(grant.principal, ["@"], principal.name)
}

_is_meant(grant, principal) if grant.role in principal.roles

_is_meant(grant, principal) if principal.name in data.dataspine.config.access.roles[grant.role]

_covers(grant, permission) if permission in grant.permissions

_covers(grant, _) if "*" in grant.permissions
