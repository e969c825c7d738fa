package main

import (
	"errors"

	"github.com/urfave/cli/v2"
)

func certExportCommand() *cli.Command {
	return withArguments(leaf("export", "write the certificate of a name to files",
		"Writes fullchain.pem and privkey.pem (readable by its owner only) into a folder, which is made if it is\nmissing. Files that are there are kept, unless --force is given.",
		[]cli.Flag{
			configFlag(), formatFlag(),
			&cli.StringFlag{Name: "out", Aliases: []string{"o"}, Usage: "`FOLDER` to write to"},
			&cli.BoolFlag{Name: "force", Usage: "replace files that are there"},
		}, certExport), "NAME", 1, 1)
}

func certExport(c *cli.Context) error {
	if c.String("out") == "" {
		return usageError{errors.New("cert export needs --out FOLDER"), "the private key is never printed"}
	}
	con, _, err := console(c)
	if err != nil {
		return err
	}
	out, err := con.ExportCertificate(c.Context, c.Args().First(), c.String("out"), c.Bool("force"))
	if err != nil {
		return explainCert(err)
	}
	if c.String("format") == "json" {
		return printJSON(c.App.Writer, out)
	}
	return printLines(c.App.Writer, "wrote "+out.Fullchain, "wrote "+out.Key)
}
