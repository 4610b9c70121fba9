# METADATA
# description: |
#   Whether the data that rules rely on is whole. A rule that looks something up in data of another shape finds
#   nothing, and nothing found must never look like nothing to object to.
package dataspine.lib.bundle_data

# METADATA
# description: Configuration, exceptions, matrix and lexicon are there, and as their schema says.
is_whole if {
	json.match_schema(_documents, data.dataspine.schemas.data)[0]
	_is_disjoint([geography.countries | some geography in data.dataspine.matrix.geographies])
	_is_disjoint([geography.regions | some geography in data.dataspine.matrix.geographies])
}

# METADATA
# description: Why it is not whole, for the message of the refusal.
faults contains fault if {
	some error in json.match_schema(_documents, data.dataspine.schemas.data)[1]
	fault := sprintf("%s: %s", [error.field, error.desc])
}

faults contains "configuration, exceptions, matrix, lexicon or their schema is missing" if {
	not json.match_schema(_documents, data.dataspine.schemas.data)
}

faults contains "matrix: a country or a region belongs to two geographies" if {
	some key in ["countries", "regions"]
	not _is_disjoint([geography[key] | some geography in data.dataspine.matrix.geographies])
}

_documents := {
	"config": data.dataspine.config,
	"exceptions": data.dataspine.exceptions,
	"matrix": data.dataspine.matrix,
	"lexicon": data.dataspine.lexicon,
}

_is_disjoint(lists) if count({item | some list in lists; some item in list}) == sum([count(list) | some list in lists])
