"""OData 4.0 as pure functions: one table of entities, and text in, values out.

    entities   the one table: properties, types, limits, what is published and what is an extension
    literals   integers and times as OData spells them
    paths      the path of a URL -> its shape and keys; references to an entity
    options    the query string -> what is asked for ($filter, $orderby, $select come beside it)
    bodies     a JSON body -> nouns of `indicia.model`, every fault with its place
    format     nouns -> JSON, annotations, next links
    metadata   the table -> $metadata (CSDL XML) and the service document

References: OData 4.01 Part 2 (URL conventions), OData JSON 4.01, OData CSDL XML 4.01.
"""
