package page

import (
	"fmt"
	"math"
	"net/http"
)

const (
	sqlRows  = 500
	maxCell  = 2 << 10  // bytes of a value that are shown
	maxQuery = 32 << 10 // bytes of a statement
)

// tablesQuery lists the tables and views with their columns.
const tablesQuery = `SELECT t.name, (SELECT group_concat(c.name, ', ') FROM pragma_table_info(t.name) c)
	FROM sqlite_schema t WHERE t.type IN ('table', 'view') AND t.name NOT LIKE 'sqlite_%' ORDER BY t.name`

// sqlData is the view: a statement and what it returned.
type sqlData struct {
	Query   string
	Said    string // what is wrong with it
	Columns []string
	Rows    [][]string
	More    bool
	Plot    *plot
	Tables  [][]string
}

// sql is GET and POST /sql. The file has every account and the audit, so it is for a token that
// may see and do everything. A statement is sent by POST alone: a link can't run one.
func (p *Page) sql(v *visit) error {
	if !v.info.all("read", "operate") {
		return &problem{Status: http.StatusForbidden, Title: "This token does not allow that", Detail: "SQL sees all of the file: it needs the scopes read and operate, without client_ids."}
	}
	d := sqlData{Query: "SELECT type, count(*) FROM (SELECT type FROM outbox ORDER BY seq DESC LIMIT 10000) GROUP BY type"}
	if v.r.Method == http.MethodPost {
		v.r.Body = http.MaxBytesReader(v.w, v.r.Body, maxForm)
		d.Query = v.r.PostFormValue("query")
		if len(d.Query) > maxQuery {
			return mistake("The statement is too long.")
		}
		rows, err := p.o.SQL(v.r.Context(), d.Query, sqlRows)
		if err != nil {
			d.Said = err.Error()
		} else {
			d.Columns, d.Rows, d.More, d.Plot = rows.Columns, cells(rows), rows.More, plotOf(rows)
		}
	}
	tables, err := p.o.SQL(v.r.Context(), tablesQuery, sqlRows)
	if err != nil {
		return &problem{Status: http.StatusServiceUnavailable, Title: "The file can't be read now", Detail: err.Error()}
	}
	d.Tables = cells(tables)
	return v.show(http.StatusOK, "sql", "SQL", d)
}

func cells(rows Rows) [][]string {
	all := make([][]string, len(rows.Rows))
	for i, row := range rows.Rows {
		for _, value := range row {
			text := fmt.Sprint(value)
			switch value := value.(type) {
			case nil:
				text = "NULL"
			case []byte:
				text = fmt.Sprintf("x'%x'", value[:min(len(value), maxCell/2)])
			}
			all[i] = append(all[i], short(text, maxCell))
		}
	}
	return all
}

// plotOf returns the plot of a result with two columns, of which the second is a number in each
// row; nil for any other. Where the first is a number too it is the horizontal axis.
func plotOf(rows Rows) *plot {
	if len(rows.Columns) != 2 || len(rows.Rows) < 2 {
		return nil
	}
	xs, ys, even := make([]float64, len(rows.Rows)), make([]float64, len(rows.Rows)), false
	for i, row := range rows.Rows {
		x, known := float(row[0])
		y, ok := float(row[1])
		if !ok {
			return nil
		}
		xs[i], ys[i], even = x, y, even || !known
	}
	if even {
		for i := range xs {
			xs[i] = float64(i)
		}
	}
	made := scatter(short(rows.Columns[1], 100)+" over "+short(rows.Columns[0], 100), xs, ys, false)
	return &made
}

func float(value any) (float64, bool) {
	switch value := value.(type) {
	case int64:
		return float64(value), true
	case float64:
		return value, !math.IsNaN(value) && !math.IsInf(value, 0)
	}
	return 0, false
}
