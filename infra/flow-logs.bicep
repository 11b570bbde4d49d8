// Turns virtual network flow logs on, as the portal's tutorial does by hand. Optional: for who has none yet.
// (NSG flow logs can no longer be created since 30 June 2025.)
// Deployed to the network watcher's resource group, which is NetworkWatcherRG unless somebody chose another.

targetScope = 'resourceGroup'

@description('Resource ids of the virtual networks, subnets or network interfaces to log, all of one region.')
param targetResourceIds array

@description('Resource id of the storage account to write to: of the same region, general-purpose v2.')
param storageAccountId string

@description('Region of the targets. There is one network watcher for each region.')
param location string

@description('Name of the network watcher of that region.')
param networkWatcherName string = 'NetworkWatcher_${location}'

@description('Whether logging is on.')
param enabled bool = true

@description('Days after which Network Watcher deletes the logs; 0 keeps them. More than what a backfill is to reach.')
@minValue(0)
@maxValue(365)
param retentionDays int = 30

@description('Version of the format, as the service numbers it: 2 holds bytes and packets.')
@allowed([
  1
  2
])
param formatVersion int = 2

resource networkWatcher 'Microsoft.Network/networkWatchers@2024-07-01' existing = {
  name: networkWatcherName
}

resource flowLogs 'Microsoft.Network/networkWatchers/flowLogs@2024-07-01' = [for targetResourceId in targetResourceIds: {
  // checkov:skip=CKV_AZURE_12: how long flow logs are kept is the user's to decide, and to pay
  parent: networkWatcher
  name: '${take(last(split(targetResourceId, '/')), 60)}-${uniqueString(targetResourceId)}'
  location: location
  properties: {
    targetResourceId: targetResourceId
    storageId: storageAccountId
    enabled: enabled
    format: {
      type: 'JSON'
      version: formatVersion
    }
    retentionPolicy: {
      days: retentionDays
      enabled: retentionDays > 0
    }
  }
}]
