# METADATA
# description: Small whole questions and data that tests bend. No rule may import it.
package dataspine.lib.fixture_test

at := "2026-11-24T09:00:00Z"

config := {"rules": {}}

matrix := {
	"geographies": {
		"EU": {"countries": ["DE", "FR"], "regions": ["eu-west-1", "eu-north-1"]},
		"US": {"countries": ["US"], "regions": ["us-east-1"]},
		"BR": {"countries": ["BR"], "regions": ["sa-east-1"]},
	},
	"transfers": {
		"PII": {
			"EU": {
				"EU": {"allow": true},
				"US": {
					"allow": true,
					"basis": {"name": "SCC", "until": "2027-03-31T00:00:00Z"},
					"obligations": [{"type": "mask", "method": "hmac"}],
				},
			},
			"US": {"US": {"allow": true}},
		},
		"PCI": {"EU": {"US": {"allow": true, "obligations": [{"type": "mask", "method": "last4"}]}}},
		"Public": {"*": {"EU": {"allow": true}, "US": {"allow": true}, "BR": {"allow": true}}},
	},
}

exception(rule) := {
	"rule": rule,
	"applies-to": "shop.*",
	"reason": "moves in March",
	"approved-by": "data-governance",
	"effective-until": "2027-01-31T00:00:00Z",
}

field := {
	"path": "id",
	"type": "string",
	"doc": null,
	"tokens": ["id"],
	"classifications": ["Public"],
	"tagged": false,
	"retention": "90d",
	"waiver": null,
	"line": 4,
}

schema(fields) := {"point": "schema.publish", "at": at, "facts": {
	"name": "shop.customers",
	"format": "PROTOBUF",
	"metadata": {"owner": "team-shop"},
	"fields": fields,
}}

column(path, classifications) := {"path": path, "classifications": classifications, "key": false, "line": 7}

table := {
	"name": "customers",
	"source": "shop",
	"subject": "shop.customers",
	"line": 5,
	"homes": ["EU"],
	"home": {"column": "country"},
	"guard_columns": ["country"],
	"columns": [column("email", ["PII"]), column("country", ["Public"])],
}

sink := {"name": "lake", "region": "us-east-1", "line": 9, "masks": {"customers.email": "hmac"}}

route_of(tables, sinks) := {"point": "route.deploy", "at": at, "facts": {
	"name": "shop.route",
	"sources": [{"name": "shop", "region": "eu-west-1", "line": 2}],
	"tables": tables,
	"sinks": sinks,
	"dead_letter": {"region": "eu-west-1", "line": 12},
}}

route := route_of([table], [sink])

row(values) := {
	"point": "row.replicate",
	"at": at,
	"facts": {
		"name": "shop.route",
		"table": "customers",
		"homes": "allowed",
		"home": {"column": "country"},
		"columns": [{"path": "email", "classifications": ["PII"]}, {"path": "country", "classifications": ["Public"]}],
		"guard_columns": ["country"],
		"sink": {"name": "lake", "region": "us-east-1", "masks": {"customers.email": "hmac"}},
	},
	"row": values,
}

changed(document, path, value) := json.patch(document, [{"op": "add", "path": path, "value": value}])
